//! A callback from a third party. Accepted means stored.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{Receipt, TraceId};
use bk_plugin_core::queue::WakeUp;
use bk_plugin_core::record::{InboxEntry, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Write};
use serde_json::Value;
use tracing::Instrument as _;

use super::EngineCall;
use crate::callback_token::OpenedToken;

/// Why a callback is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The token was not minted here, or is too old.
    #[error("invalid token")]
    InvalidToken,
    /// The invocation is finished, or there is no such invocation.
    #[error(
        "callback fail,schedule plugin state[{}]: is not callback",
        .0.map_or_else(|| "None".to_owned(), |state| u8::from(state).to_string())
    )]
    NotWaiting(Option<State>),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EngineCall<'_> {
    /// Accepts a callback. When this returns `Ok` the callback is in the inbox and will be handed to a step, unless
    /// the invocation ends first.
    pub async fn callback(self, token: &str, data: Value) -> Result<TraceId, CallbackError> {
        let now = self.clock().now();
        let keys = &self.engine.parts.keys;
        let opened =
            keys.open(token, now, self.limits().put_back_limit()).map_err(|_| CallbackError::InvalidToken)?;
        let span = self.log_span(&opened.trace_id);
        self.accept(opened, data, now).instrument(span).await
    }

    async fn accept(
        &self,
        opened: OpenedToken,
        data: Value,
        now: Timestamp,
    ) -> Result<TraceId, CallbackError> {
        let (trace_id, receipt, until) = (opened.trace_id, Receipt::random(), self.retry_deadline());
        let group = self.table().group_of(&trace_id).await;
        let wake_up = WakeUp { group, ..WakeUp::for_callback(trace_id.clone(), receipt.clone(), now) };
        let append = Append {
            entry: InboxEntry { receipt, callback_id: opened.callback_id, data },
            // The record may be missing only while the step that prepared this callback is being written, and that
            // takes no longer than a token is young.
            stub: opened.young.then(|| (now, now + self.limits().keep_stub())),
        };
        let accepted = async {
            self.send_wake_up(wake_up, until).await?;
            self.retry_until(until, || self.table().append(&trace_id, &append)).await
        };
        match accepted.await {
            Ok(Write::Applied) => {
                tracing::info!("callback accepted");
                Ok(trace_id)
            }
            Ok(Write::Refused(record)) => Err(CallbackError::NotWaiting(record.map(|record| record.state))),
            Err(error) => {
                tracing::error!(%error, "callback not stored");
                Err(error.into())
            }
        }
    }
}
