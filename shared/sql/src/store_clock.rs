//! The time of a store: all processes that use it tell it alike, and it never goes back, whatever happens to a clock.
//!
//! A process begins with the time of the machine (SQLite) or of the database server (MySQL), but not before the latest
//! time that the store has seen; from then on it counts the time that passes. So a clock that is set moves nothing
//! that waits in the store, not even when the process is started again.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::{Clock, SteadyClock, Timestamp};

use crate::database::Batch;

/// Time between two notes in the store of how late it is.
const NOTED_EVERY: Duration = Duration::from_secs(2);

/// A clock that is behind the store by less than this is not worth a word: other processes note the time, too.
const TOLERATED: Duration = Duration::from_secs(5);

/// The clock of a process.
pub(crate) enum StoreClock {
    /// A test's, which tells the time of everything.
    Given(Arc<dyn Clock>),
    /// The store's own time.
    Steady(Arc<SteadyClock>),
}

impl StoreClock {
    /// The clock of a process that opens a store at `now`, by the clock of the machine or the database server. `latest`
    /// is the latest time that was noted in the store.
    pub(crate) fn at_opening(given: Option<Arc<dyn Clock>>, now: Timestamp, latest: Timestamp) -> Self {
        if let Some(clock) = given {
            return Self::Given(clock);
        }
        if latest > now + TOLERATED {
            let seconds = latest.since(now).as_secs();
            tracing::warn!(
                seconds,
                "the clock is behind the latest time in the store; this process goes on with that time and approaches the clock's slowly"
            );
        }
        Self::Steady(Arc::new(SteadyClock::starting_at(now.max(latest))))
    }

    /// Follows the database server's clock, at which it is `time` now, instead of the machine's.
    pub(crate) fn follow(&self, time: Timestamp) {
        if let Self::Steady(clock) = self {
            clock.follow(time);
        }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Clock> {
        match self {
            Self::Given(clock) => Arc::clone(clock),
            Self::Steady(clock) => Arc::clone(clock) as Arc<dyn Clock>,
        }
    }
}

/// When the time was last noted in the store.
#[derive(Debug, Default)]
pub(crate) struct NotedTime(Option<Timestamp>);

impl NotedTime {
    /// Whether the transaction of `batch` notes it again. A mere look for messages does not.
    pub(crate) fn is_due(&self, batch: &Batch, now: Timestamp) -> bool {
        batch.len() > 0 && self.0.is_none_or(|noted| now >= noted + NOTED_EVERY)
    }

    pub(crate) fn note(&mut self, now: Timestamp) {
        self.0 = Some(now);
    }
}
