//! A third party calls: accepted means durable.

use serde_json::Value;

use super::Engine;
use crate::ids::{Receipt, TraceId};
use crate::queue::WakeUp;
use crate::record::{InboxEntry, State};
use crate::table::{Append, StoreError, Write};

/// Why a callback is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// Not one of our tokens, or too old.
    #[error("invalid token")]
    InvalidToken,
    /// The invocation is finished, or there is none.
    #[error(
        "callback fail,schedule plugin state[{}]: is not callback",
        .0.map_or_else(|| "None".to_owned(), |state| u8::from(state).to_string())
    )]
    NotWaiting(Option<State>),
    /// The store could not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Accepts a callback. When this returns `Ok` it is in the inbox and will be handed to a step, unless the
    /// invocation ends first.
    pub async fn callback(&self, token: &str, data: Value) -> Result<TraceId, CallbackError> {
        let now = self.clock.now();
        let opened = self
            .keys
            .open(token, now, self.limits.put_back_limit())
            .map_err(|_| CallbackError::InvalidToken)?;
        let (trace_id, receipt, until) = (opened.trace_id, Receipt::random(), self.patience());
        let wake_up = WakeUp {
            trace_id: trace_id.clone(),
            after_step: 0,
            due_at: now,
            receipt: Some(receipt.clone()),
            put_backs: 0,
            deaths: 0,
        };
        self.send_wake_up(wake_up, until).await?;
        let append = Append {
            entry: InboxEntry { receipt, callback_id: opened.callback_id, data },
            // Only the step that prepared this callback can still be unwritten, and only while it is young.
            stub: opened.young.then(|| (now, now + self.limits.keep_stub())),
        };
        match self.patiently(until, || self.table.append(&trace_id, &append)).await? {
            Write::Applied => Ok(trace_id),
            Write::Refused(record) => Err(CallbackError::NotWaiting(record.map(|record| record.state))),
        }
    }
}
