//! The times and numbers the engine keeps to, and what follows from them.

use std::time::Duration;

/// Times and numbers the engine keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A step that takes longer ends in FAIL.
    pub step_time_limit: Duration,
    /// How long an unavailable store is retried before the caller is told.
    pub store_patience: Duration,
    /// An invocation whose process died this often while it ran the same step ends in FAIL. At most three deaths beside
    /// other author code count.
    pub max_receive_count: u32,
    /// Posts of a finish callback before it is given up.
    pub finish_callback_attempts: u32,
    /// How long a finished record is kept (SCHEDULE_PERSISTENT_DAYS).
    pub keep_finished: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step_time_limit: Duration::from_mins(1),
            store_patience: Duration::from_secs(20),
            max_receive_count: 5,
            finish_callback_attempts: 12,
            keep_finished: Duration::from_hours(30 * 24),
        }
    }
}

impl Limits {
    /// Largest difference between the clocks of two runners.
    const SKEW: Duration = Duration::from_secs(5);

    /// Longest time between sending a request to the store and its taking effect, if it takes effect at all.
    const IN_FLIGHT: Duration = Duration::from_mins(1);

    /// How long a runner holds a step: time for the step, for writing its result, and for the difference of clocks.
    pub fn lease(&self) -> Duration {
        self.step_time_limit + self.store_patience + Self::SKEW
    }

    /// How long a received message must stay hidden from other receivers: longer than the lease, so that the next
    /// receiver can claim.
    pub fn visibility_timeout(&self) -> Duration {
        self.lease() + 2 * Self::SKEW
    }

    /// How long a wake-up may wait for the record it was sent for. Its sender writes the record within this time or
    /// never: it starts no call once its lease is over.
    pub(super) fn put_back_limit(&self) -> Duration {
        self.lease() + Self::IN_FLIGHT + 2 * Self::SKEW
    }

    /// How long a stub is kept: longer than any first step it may be waiting for.
    pub(super) fn keep_stub(&self) -> Duration {
        self.put_back_limit() * 2 + Duration::from_hours(1)
    }
}
