//! A dead letter: a message that was received too often without being deleted. And how an invocation is ended whose
//! message leads nowhere.

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Message, WakeUp};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Claim;

use super::phase::Phase;
use super::requeue::OUTAGE;
use super::step::StepResult;
use super::{EngineCall, Handled};
use crate::metrics;

impl EngineCall<'_> {
    /// Handles a message from the dead-letter queue.
    pub async fn dead_letter(mut self, message: &Message) -> Handled {
        self.context.enter_message(message.trace());
        let handled = match message {
            Message::WakeUp(wake_up) => self.received_in_vain(wake_up).await,
            // Its receivers may have crashed before they posted at all.
            Message::Finish(finish) => self.post_again(finish).await,
            // A message that was not read has crashed nothing.
            Message::Unreadable(unreadable) => self.unreadable(unreadable).await,
        };
        handled.unwrap_or_else(|error| left_for_later(message.trace_id(), &error))
    }

    async fn dead_wake_up(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        if wake_up.due_at > now {
            return self.forward_hop(wake_up, now).await;
        }
        let lease = self.new_lease(now);
        match self.claim(wake_up, &lease, now).await? {
            Claim::Granted(record) => {
                let step = record.invoke_count + 1;
                let err = never_ended(step);
                tracing::error!(trace_id = %record.trace_id, step, err, "a dead letter: FAIL");
                metrics::dead_letter(&record.plugin_version);
                Phase::Schedule.count_unexpected(record.plugin_version.clone());
                self.send_and_commit(wake_up, StepResult::fail(err), &record, &lease).await
            }
            // Its last runner may still be alive. The message is left: a copy would have a crash count of 0.
            Claim::Refused(Some(record)) if record.is_leased(now) => Ok(Handled::Leave),
            Claim::Refused(record) => self.on_claim_refused(wake_up, record.as_deref(), now).await,
        }
    }

    /// A wake-up that was received too often is sent again, and ends nothing: its receivers may have died of other
    /// steps. It is run alone then, unless no runner has started the step: a function that is throttled or does not
    /// start is no reason to suspect it.
    async fn received_in_vain(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        if wake_up.due_at > now {
            return self.forward_hop(wake_up, now).await;
        }
        if wake_up.alone.is_none() && self.was_started(&wake_up.trace_id).await? {
            return Ok(self.run_alone_later(wake_up, self.limits().max_receive_count).await);
        }
        let trace_id = &wake_up.trace_id;
        tracing::warn!(%trace_id, "wake-up was received repeatedly but its step never started; sent again");
        let crashes = if wake_up.alone.is_some() { wake_up.crashes } else { 0 };
        let again = Message::WakeUp(WakeUp { crashes, ..wake_up.clone() });
        self.queue().send(&again, OUTAGE.longest.min(self.queue().longest_delay())).await?;
        Ok(Handled::Delete)
    }

    /// Whether any runner started the step this unfinished invocation waits for. A runner that crashed has left its
    /// lease on the record.
    async fn was_started(&self, trace_id: &TraceId) -> Result<bool, StoreError> {
        let record = self.table().read(trace_id).await?;
        Ok(record.is_some_and(|record| record.lease.is_some()))
    }

    /// Ends the invocation of a step whose process died in so many runs alone.
    pub(super) async fn found_guilty(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        self.dead_wake_up(wake_up).await
    }
}

fn never_ended(step: u32) -> String {
    format!(
        "plugin schedule failed: step {step} was started again and again and never came to its end; the \
         process that runs it crashes or is killed"
    )
}

fn left_for_later(trace_id: &TraceId, error: &StoreError) -> Handled {
    tracing::warn!(%trace_id, %error, "dead letter left for later");
    Handled::Leave
}
