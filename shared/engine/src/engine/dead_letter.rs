//! A message that was received too often without having been deleted: its step kills whoever runs it.

use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Message, WakeUp};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Claim;

use super::step::StepResult;
use super::{Engine, Handled};
use crate::metrics;

impl Engine {
    /// Handles a message from the dead-letter queue: ends the invocation in FAIL and says why.
    pub async fn dead_letter(&self, message: &Message) -> Handled {
        let handled = match message {
            Message::WakeUp(wake_up) => self.in_trace_of(message).received_in_vain(wake_up).await,
            // Whoever received it may not have come to posting it at all.
            Message::Finish(finish) => self.in_trace_of(message).post_again(finish).await,
        };
        handled.unwrap_or_else(|error| left_for_later(message.trace_id(), &error))
    }

    /// Handles a message from the dead-letter queue of which only the invocation's name can be read, for the
    /// reason `why`: what it asked for will not be asked for again, so the invocation ends in FAIL. One that
    /// waits for a callback goes on waiting: callbacks have wake-ups of their own.
    pub async fn unreadable_dead_letter(&self, trace_id: &TraceId, why: &str) -> Handled {
        let handled = async {
            let Some(record) = self.table.read(trace_id).await? else { return Ok(Handled::Delete) };
            let wake_up = WakeUp::for_step(trace_id.clone(), record.invoke_count, self.clock.now());
            let err =
                |step| format!("plugin schedule failed: the wake-up for step {step} cannot be read: {why}");
            self.dead_wake_up(&wake_up, err).await
        };
        handled.await.unwrap_or_else(|error| left_for_later(trace_id, &error))
    }

    /// Puts a copy of a message that knows of its crashes back into the queue, to be received after `delay`:
    /// what may kill its runner is not run beside others.
    pub async fn set_aside(&self, message: &Message, receive_count: u32, delay: Duration) -> Handled {
        let copy = message.with_crashes(message.crashes(receive_count)).put_back();
        let delay = delay.min(self.queue.longest_delay());
        // A message that stays where it is comes again only after its visibility time-out, and counts as one
        // whose runner died.
        match self.patiently(self.patience(), || self.queue.send(&copy, delay)).await {
            Ok(()) => Handled::Delete,
            Err(_) => Handled::Leave,
        }
    }

    async fn dead_wake_up(
        &self,
        wake_up: &WakeUp,
        err: impl Fn(u32) -> String,
    ) -> Result<Handled, StoreError> {
        let now = self.clock.now();
        if wake_up.due_at > now {
            return self.send_on(wake_up, now).await;
        }
        let lease = self.new_lease(now);
        match self.claim(wake_up, &lease, now).await? {
            Claim::Granted(record) => {
                let step = record.invoke_count + 1;
                let err = err(step);
                tracing::error!(trace_id = %record.trace_id, step, err, "a dead letter: FAIL");
                metrics::dead_letter(&record.plugin_version);
                self.send_and_commit(wake_up, StepResult::fail(err), &record, &lease).await
            }
            // Its last runner may still be alive; a copy would start the count anew.
            Claim::Refused(Some(record)) if record.is_leased(now) => Ok(Handled::Leave),
            Claim::Refused(record) => self.nothing_to_claim(wake_up, record.as_deref(), now).await,
        }
    }

    async fn received_in_vain(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        let is_due = wake_up.due_at <= self.clock.now();
        if is_due && self.table.keeps_leases() && !self.was_started(&wake_up.trace_id).await? {
            return self.start_anew(wake_up).await;
        }
        self.dead_wake_up(wake_up, never_ended).await
    }

    /// Whether somebody has begun the step that an unfinished invocation waits for: who dies leaves the lease.
    async fn was_started(&self, trace_id: &TraceId) -> Result<bool, StoreError> {
        let record = self.table.read(trace_id).await?;
        Ok(record
            .is_none_or(|record| record.state.is_finished() || record.is_stub() || record.lease.is_some()))
    }

    /// The message was received in vain, but nobody came to running the step: a function that is throttled or does
    /// not start is no reason to end an invocation.
    async fn start_anew(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        tracing::warn!(trace_id = %wake_up.trace_id, "received in vain and never begun: the wake-up is sent anew");
        let anew = Message::WakeUp(WakeUp { crashes: 0, ..wake_up.clone() });
        self.queue.send(&anew, Self::WEATHER.longest.min(self.queue.longest_delay())).await?;
        Ok(Handled::Delete)
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
