//! Retries of a store that is unavailable.

use std::future::Future;
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::store_error::StoreError;

use super::EngineCall;

/// Delays between attempts.
const RETRY: BackOff = BackOff { first: Duration::from_millis(20), longest: Duration::from_secs(2) };

impl EngineCall<'_> {
    /// Retries a call of a store, with back-off, until the store answers or `until` has passed. No call is started
    /// after `until`: a process that was frozen must not write late, because the wake-up that covers the write may
    /// already have been consumed.
    pub(super) async fn retry_until<T, F, Fut>(&self, until: Timestamp, mut call: F) -> Result<T, StoreError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let clock = self.clock();
        for attempt in 0.. {
            if clock.now() >= until {
                return Err(StoreError::Unavailable("the time for asking it was over".into()));
            }
            match call().await {
                Err(StoreError::Unavailable(error)) => {
                    let delay = RETRY.delay(attempt);
                    if clock.now() + delay >= until {
                        return Err(StoreError::Unavailable(error));
                    }
                    tracing::warn!(%error, attempt, "the store is asked again");
                    clock.sleep(delay).await;
                }
                answer => return answer,
            }
        }
        unreachable!("the loop ends only by returning")
    }
}
