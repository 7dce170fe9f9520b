//! A message that this release cannot read: a newer release has sent it, or it is damaged.
//!
//! It may be all that wakes its invocation, and the release that can read it may come back. So it is left in the queue,
//! as it is, for about an hour in which the invocation was due for a step and did not get on. Then nothing else will
//! wake the invocation, and it ends in FAIL.

use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::{Message, Unread, Unreadable, WakeUp};
use bk_plugin_core::record::{Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Claim;

use super::phase::Phase;
use super::step::StepResult;
use super::{EngineCall, Handled};
use crate::metrics;

/// Delays between two receptions of a message that cannot be read.
const LEFT_FOR: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };

/// Receptions after which the invocation ends: an hour by [`LEFT_FOR`]. Receptions are counted and not hours, so that no
/// outage and no wrong clock uses the time up. While this message comes, others come as well.
const MOST_TIMES: u32 = 65;

impl EngineCall<'_> {
    /// Puts the message back, or ends the invocation that nothing else will wake.
    pub(super) async fn unreadable(&self, message: &Unreadable) -> Result<Handled, StoreError> {
        let trace_id = &message.trace_id;
        let record = self.table().read(trace_id).await?;
        let now = self.clock().now();
        let wait = Wait::of(record.as_deref(), now);
        if message.unread == Unread::default() {
            tracing::error!(%trace_id, why = message.problem, "a message cannot be read, it is left for an hour");
        }
        let Some(unread) = wait.count(message.unread) else { return Ok(Handled::Delete) };
        if unread.times < MOST_TIMES {
            return self.leave(message, unread, wait.delay(unread)).await;
        }
        match (wait, record) {
            (Wait::Step { .. }, Some(record)) => self.end(message, &record, unread, now).await,
            (Wait::Post, Some(record)) => {
                // It may have been the message that asks for the post.
                self.send_finish(&record, record.finish_at, self.retry_deadline()).await?;
                Ok(Handled::Delete)
            }
            _ => {
                tracing::warn!(%trace_id, why = message.problem, "a message that cannot be read is dropped: no step waits for it");
                Ok(Handled::Delete)
            }
        }
    }

    async fn leave(
        &self,
        message: &Unreadable,
        unread: Unread,
        delay: Duration,
    ) -> Result<Handled, StoreError> {
        let delay = delay.min(self.queue().longest_delay());
        self.queue().send(&Message::Unreadable(message.left(unread)), delay).await?;
        Ok(Handled::Delete)
    }

    /// Ends the invocation in FAIL, unless it has got on or is being run.
    async fn end(
        &self,
        message: &Unreadable,
        record: &Record,
        unread: Unread,
        now: Timestamp,
    ) -> Result<Handled, StoreError> {
        let wake_up = WakeUp::for_step(message.trace_id.clone(), record.invoke_count, now);
        let lease = self.new_lease(now);
        let Claim::Granted(record) = self.claim(&wake_up, &lease, now).await? else {
            return self.leave(message, unread, LEFT_FOR.longest).await;
        };
        let step = record.invoke_count + 1;
        let why = &message.problem;
        let err = format!("plugin schedule failed: the wake-up for step {step} cannot be read: {why}");
        tracing::error!(trace_id = %record.trace_id, step, err, "a message could not be read for an hour: FAIL");
        metrics::dead_letter(&record.plugin_version);
        Phase::Schedule.count_unexpected(record.plugin_version.clone());
        self.send_and_commit(&wake_up, StepResult::fail(err), &record, &lease).await
    }
}

/// What an invocation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing: it has ended, and its caller was told.
    Nothing,
    /// Its next step, which is due.
    Step { after: u32 },
    /// Its next step, which is not due yet or is being run.
    Later { after: u32 },
    /// A callback that has not come, or its first record.
    Outside { after: u32 },
    /// A post of its finish callback.
    Post,
}

impl Wait {
    fn of(record: Option<&Record>, now: Timestamp) -> Self {
        let Some(record) = record else { return Self::Outside { after: 0 } };
        let after = record.invoke_count;
        let is_later = record.deadline.is_some_and(|deadline| deadline.at > now);
        match record.state {
            State::Success | State::Fail if record.owed => Self::Post,
            State::Success | State::Fail => Self::Nothing,
            State::Empty => Self::Outside { after },
            _ if record.is_leased(now) => Self::Later { after },
            State::Callback if !record.inbox.is_empty() => Self::Step { after },
            State::Callback if record.deadline.is_none() => Self::Outside { after },
            State::Poll | State::Callback if is_later => Self::Later { after },
            State::Poll | State::Callback => Self::Step { after },
        }
    }

    /// How long the message has been left, this reception included; `None` if it need not be left any longer.
    fn count(self, before: Unread) -> Option<Unread> {
        let (after_step, counted) = match self {
            Self::Nothing => return None,
            Self::Step { after } | Self::Outside { after } => (after, 1),
            Self::Later { after } => (after, 0),
            Self::Post => (u32::MAX, 1),
        };
        let stayed = if before.after_step == after_step { before.times } else { 0 };
        Some(Unread { after_step, times: stayed.saturating_add(counted) })
    }

    /// Time until the message is received again: it grows, or is the longest while nothing is counted.
    fn delay(self, unread: Unread) -> Duration {
        match self {
            Self::Later { .. } => LEFT_FOR.longest,
            _ => LEFT_FOR.delay(unread.times),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_left_for_an_hour() {
        let left: Duration = (1..MOST_TIMES).map(|times| LEFT_FOR.delay(times)).sum();
        assert!((left.as_secs_f64() - 3600.0).abs() < 60.0, "{left:?}");
    }
}
