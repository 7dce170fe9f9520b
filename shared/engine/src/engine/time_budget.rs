//! How long the parts of a call may take: within the limits, and before the process is killed.

use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::LeaseToken;
use bk_plugin_core::record::Lease;
use bk_plugin_kit::Meta;

use super::EngineCall;

/// Time budget of a process that will be killed, such as a Lambda function. Steps and store retries stop before it
/// runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBudget {
    step_until: Timestamp,
    store_until: Timestamp,
    killed_at: Timestamp,
}

/// Reserve for writing a step's result. At most a quarter of the remaining time.
const RESULT_RESERVE: Duration = Duration::from_secs(8);

/// The part of that reserve kept for one last store call, which can take seconds when the store is struggling, and
/// for requeueing the message. At most an eighth of the remaining time.
const LAST_CALL_RESERVE: Duration = Duration::from_secs(4);

impl TimeBudget {
    /// The budget of a call that begins `now`, in a process that is killed at `killed_at`.
    pub fn new(now: Timestamp, killed_at: Timestamp) -> Self {
        let left = killed_at.since(now);
        let before_end = |reserve: Duration| now + left.saturating_sub(reserve);
        Self {
            step_until: before_end(RESULT_RESERVE.min(left / 4)),
            store_until: before_end(LAST_CALL_RESERVE.min(left / 8)),
            killed_at,
        }
    }
}

impl EngineCall<'_> {
    /// How long a step of this version may take if it starts now.
    pub(super) fn step_time_limit(&self, version: &Meta) -> Duration {
        let left = self.context.time_budget.map(|budget| budget.step_until.since(self.clock().now()));
        let limits = left.into_iter().chain(version.step_time_limit);
        limits.fold(self.limits().step_time_limit, Duration::min)
    }

    /// Until when an unavailable store is retried.
    pub(super) fn retry_deadline(&self) -> Timestamp {
        self.within_budget(self.clock().now() + self.limits().store_patience)
    }

    /// Until when an unavailable store is retried by the holder of this lease.
    pub(super) fn retry_deadline_under(&self, lease: &Lease) -> Timestamp {
        self.within_budget(lease.until)
    }

    fn within_budget(&self, until: Timestamp) -> Timestamp {
        self.context.time_budget.map_or(until, |budget| until.min(budget.store_until))
    }

    pub(super) fn new_lease(&self, now: Timestamp) -> Lease {
        let until = now + self.limits().lease();
        let until = self.context.time_budget.map_or(until, |budget| until.min(budget.killed_at));
        Lease { token: LeaseToken::random(), until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_kept_back_from_long_ends_and_short_ones() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let after = |seconds| now + Duration::from_secs(seconds);
        let minute = TimeBudget::new(now, after(60));
        assert_eq!((minute.step_until, minute.store_until), (after(52), after(56)));
        let short = TimeBudget::new(now, after(8));
        assert_eq!((short.step_until, short.store_until), (after(6), after(7)));
        assert_eq!(TimeBudget::new(now, now).step_until, now);
    }
}
