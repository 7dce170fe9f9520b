//! What an engine is told of the one call or message it works for.

use std::borrow::Cow;
use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::queue::Finish;
use bk_plugin_core::record::Lease;
use bk_plugin_core::trace_context::{LOG_SPAN, TraceContext};
use bk_plugin_kit::runtime::StepFacts;
use tracing::Span;
use tracing::field::Empty;

use super::Engine;

/// What an engine is told of the call or message it works for. A server has nothing to tell but the trace.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// When whoever runs the engine is killed, if it is.
    pub end: Option<TimeBudget>,
    /// The trace of the call; that of a message goes before it, and that of the invocation before both.
    pub trace: TraceContext,
    /// The trace of what brought the call or message about, if it is not the invocation's: a callback's.
    pub cause: Option<TraceContext>,
}

/// The end of whoever runs the engine: the time-out of a Lambda function. A step, and the asking of stores, come to
/// their end before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBudget {
    step: Timestamp,
    last_call: Timestamp,
    killed: Timestamp,
}

/// What is kept back of the time until the end for writing a step's result; at most a quarter of it.
const WRITING: Duration = Duration::from_secs(8);

/// What is kept back of that for the last call of a store, which takes some seconds if the store is in trouble, and
/// for putting the message back; at most an eighth of the time.
const LAST_CALL: Duration = Duration::from_secs(4);

impl TimeBudget {
    /// The end of somebody who begins `now` and is killed at `killed`.
    pub fn new(now: Timestamp, killed: Timestamp) -> Self {
        let left = killed.since(now);
        let before = |kept: Duration| now + left.saturating_sub(kept);
        Self { step: before(WRITING.min(left / 4)), last_call: before(LAST_CALL.min(left / 8)), killed }
    }
}

impl Engine {
    /// The same engine for one call or message.
    #[must_use]
    pub fn on(&self, occasion: CallContext) -> Self {
        Self { occasion, ..self.clone() }
    }

    /// The same engine, belonging to the trace of an invocation: that of what it works for has only brought it about.
    pub(super) fn in_trace_of_invocation(&self, trace: &TraceContext) -> Cow<'_, Self> {
        let now = &self.occasion.trace;
        if trace.is_empty() || trace == now {
            return Cow::Borrowed(self);
        }
        let cause = (!now.is_empty()).then(|| now.clone());
        Cow::Owned(self.on(CallContext { trace: trace.clone(), cause, end: self.occasion.end }))
    }

    /// Lines that are logged in it name the invocation. It is there whatever the level of the log is.
    pub(super) fn log_span(&self, trace_id: &TraceId) -> Span {
        tracing::error_span!(LOG_SPAN, %trace_id, otelTraceID = self.occasion.trace.id())
    }

    /// The span of a step, in the trace of its invocation. Who sends traces adds the span's own id.
    pub(super) fn step_span(&self, plugin_version: &str, facts: &StepFacts) -> Span {
        // As above: the step's warnings name it, too, where only warnings are logged.
        let span = tracing::error_span!(
            "step",
            trace_id = %facts.trace_id,
            invoke_count = facts.invoke_count,
            plugin_version,
            otelTraceID = self.occasion.trace.id(),
            otelSpanID = Empty,
            otel.status_code = Empty,
        );
        self.placed(span)
    }

    /// The span of a post of a finish callback, as above.
    pub(super) fn post_span(&self, finish: &Finish) -> Span {
        self.placed(tracing::error_span!(
            "finish_callback",
            trace_id = %finish.trace_id,
            attempt = finish.attempt,
            otelTraceID = self.occasion.trace.id(),
            otelSpanID = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
        ))
    }

    fn placed(&self, span: Span) -> Span {
        if let Some(place) = self.place_span {
            place(&span, &self.occasion.trace, self.occasion.cause.as_ref());
        }
        span
    }

    /// How long a step that starts now may take.
    pub(super) fn step_time_limit(&self) -> Duration {
        let left = self.occasion.end.map(|end| end.step.since(self.clock.now()));
        left.unwrap_or(Duration::MAX).min(self.limits.step_time_limit)
    }

    /// Until when a store is asked again.
    pub(super) fn patience(&self) -> Timestamp {
        self.no_call_after(self.clock.now() + self.limits.store_patience)
    }

    /// Until when a store is asked again by the holder of a lease.
    pub(super) fn last_call(&self, lease: &Lease) -> Timestamp {
        self.no_call_after(lease.until)
    }

    fn no_call_after(&self, until: Timestamp) -> Timestamp {
        self.occasion.end.map_or(until, |end| until.min(end.last_call))
    }

    pub(super) fn new_lease(&self, now: Timestamp) -> Lease {
        let until = now + self.limits.lease();
        let until = self.occasion.end.map_or(until, |end| until.min(end.killed));
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
        assert_eq!((minute.step, minute.last_call), (after(52), after(56)));
        let short = TimeBudget::new(now, after(8));
        assert_eq!((short.step, short.last_call), (after(6), after(7)));
        assert_eq!(TimeBudget::new(now, now).step, now);
    }
}
