//! Messages that go back into the queue. The copy is a new message for the queue, so its receive count begins at 0; crashes
//! are carried in the message itself.

use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::queue::{Message, WakeUp};
use bk_plugin_core::store_error::StoreError;

use super::{EngineCall, Handled};

/// Delays of a message that is requeued because a store is unavailable, by how often it was put back.
pub(super) const OUTAGE: BackOff =
    BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

impl EngineCall<'_> {
    /// Requeues a copy of the message, crash count included, for after `delay`: a message that may crash its process
    /// must not run beside others.
    pub async fn set_aside(&self, message: &Message, receive_count: u32, delay: Duration) -> Handled {
        let copy = message.with_crashes(self.crashes(message, receive_count)).put_back();
        self.send_or_leave(&copy, delay).await
    }

    /// Sends what replaces a delivery, which is then to be deleted.
    pub(super) async fn send_or_leave(&self, copy: &Message, delay: Duration) -> Handled {
        let delay = delay.min(self.queue().longest_delay());
        // A message that stays is redelivered only after its visibility time-out, and that delivery counts as a
        // crash. So sending the copy is retried.
        match self.retry_until(self.retry_deadline(), || self.queue().send(copy, delay)).await {
            Ok(()) => Handled::Delete,
            Err(_) => Handled::Leave,
        }
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
            Message::Finish(_) | Message::Unreadable(_) => OUTAGE.longest,
        };
        self.set_aside(message, 1, delay).await
    }

    /// Sends a copy of a wake-up that cannot be handled yet and has this delivery deleted, so that the receive count
    /// counts crashes only.
    pub(super) async fn put_back(&self, wake_up: &WakeUp, delay: Duration) -> Result<Handled, StoreError> {
        let copy = Message::WakeUp(wake_up.clone()).put_back();
        self.queue().send(&copy, delay.min(self.queue().longest_delay())).await?;
        Ok(Handled::Delete)
    }
}
