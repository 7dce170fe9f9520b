//! A message that was received too often without having been deleted: its step kills whoever runs it.

use super::step::Ended;
use super::{Engine, Handled};
use crate::queue::{Message, WakeUp};
use crate::table::{Claim, StoreError};

impl Engine {
    /// Handles a message from the dead-letter queue: ends the invocation in FAIL and says why.
    pub async fn dead_letter(&self, message: &Message) -> Handled {
        let handled = match message {
            Message::WakeUp(wake_up) => self.dead_wake_up(wake_up).await,
            Message::Finish(finish) => {
                tracing::error!(trace_id = %finish.trace_id, "finish callback given up: posting it kept failing");
                self.table.settle(&finish.trace_id).await.map(|()| Handled::Delete)
            }
        };
        handled.unwrap_or_else(|error| {
            tracing::warn!(trace_id = %message.trace_id(), %error, "dead letter left for later");
            Handled::Leave
        })
    }

    async fn dead_wake_up(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        let now = self.clock.now();
        if wake_up.due_at > now {
            // A hop of a long wait: no step was started, so none can have killed its runner.
            return self.send_on(&WakeUp { crashes: 0, ..wake_up.clone() }, now).await;
        }
        let lease = self.new_lease(now);
        match self.claim(wake_up, &lease, now).await? {
            Claim::Granted(record) => {
                let step = record.invoke_count + 1;
                tracing::error!(trace_id = %record.trace_id, step, "the step never came to its end: FAIL");
                let err = format!(
                    "plugin schedule failed: step {step} was started again and again and never came to its \
                     end; the process that runs it crashes or is killed"
                );
                self.send_and_commit(wake_up, Ended::fail(err), &record, &lease).await
            }
            // Its last runner may still be alive; a copy would start the count anew.
            Claim::Refused(Some(record)) if record.is_leased(now) => Ok(Handled::Leave),
            Claim::Refused(record) => self.nothing_to_claim(wake_up, record.as_deref(), now).await,
        }
    }
}
