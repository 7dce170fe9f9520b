//! What the engine does while a store is unavailable: it retries for some seconds, then requeues the message.

use std::future::Future;
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Message;
use bk_plugin_core::store_error::StoreError;

use super::{EngineCall, Handled};

/// Delays between attempts of one call.
const RETRY: BackOff = BackOff { first: Duration::from_millis(20), longest: Duration::from_secs(2) };

/// Delays of a message that is requeued, by how often it was.
pub(super) const OUTAGE: BackOff =
    BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

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

    /// The store is unavailable, which never ends an invocation. Requeues a copy of the message; if the queue is
    /// unavailable too, the message stays and is redelivered.
    pub(super) async fn requeue_after_outage(&self, message: &Message, error: &StoreError) -> Handled {
        if let StoreError::Unreadable { .. } = error {
            tracing::error!(trace_id = %message.trace_id(), %error, "record cannot be read, tried again later");
        } else {
            tracing::warn!(trace_id = %message.trace_id(), %error, "message put back");
        }
        let delay = match message {
            Message::WakeUp(wake_up) => OUTAGE.delay(wake_up.put_backs),
            Message::Finish(_) => OUTAGE.longest,
        };
        self.set_aside(message, 1, delay).await
    }
}
