//! What an engine is told of the one call or message it works for.

use std::time::Duration;

use super::Engine;
use crate::clock::Timestamp;
use crate::ids::LeaseToken;
use crate::record::Lease;
use crate::trace_context::TraceContext;

/// What an engine is told of the call or message it works for. A server has nothing to tell but the trace.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// When whoever runs the engine is killed: the time-out of a Lambda function. A step gets the time until
    /// then, less what the writing of its result needs, if that is shorter than its own limit.
    pub ends_at: Option<Timestamp>,
    /// The trace of the call; that of a message goes before it.
    pub trace: TraceContext,
}

/// What is kept back of the time until the end, for writing the result; at most a quarter of it.
const WRITING: Duration = Duration::from_secs(5);

impl Engine {
    /// The same engine for one call or message.
    #[must_use]
    pub fn on(&self, occasion: Occasion) -> Self {
        Self { occasion, ..self.clone() }
    }

    /// How long a step that starts now may take.
    pub(super) fn step_time_limit(&self) -> Duration {
        let left = self.occasion.ends_at.map(|end| end.since(self.clock.now()));
        let limit = left.map_or(Duration::MAX, |left| left.saturating_sub(WRITING.min(left / 4)));
        limit.min(self.limits.step_time_limit)
    }

    /// Until when a store is asked again.
    pub(super) fn patience(&self) -> Timestamp {
        self.at_most(self.clock.now() + self.limits.store_patience)
    }

    pub(super) fn new_lease(&self, now: Timestamp) -> Lease {
        Lease { token: LeaseToken::random(), until: self.at_most(now + self.limits.lease()) }
    }

    /// Nobody is there to do anything after the end.
    fn at_most(&self, until: Timestamp) -> Timestamp {
        self.occasion.ends_at.map_or(until, |end| until.min(end))
    }
}
