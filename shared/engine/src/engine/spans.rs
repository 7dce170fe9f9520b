//! The spans of `tracing` that the engine's work runs in.

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::Finish;
use bk_plugin_core::trace_context::LOG_SPAN;
use bk_plugin_kit::runtime::StepFacts;
use tracing::Span;
use tracing::field::Empty;

use super::EngineCall;

// All are at ERROR level, so that a line of any level names its invocation whatever the log's filter is.
impl EngineCall<'_> {
    /// Tags log lines with the invocation's trace_id; no part of a trace.
    pub(super) fn log_span(&self, trace_id: &TraceId) -> Span {
        tracing::error_span!(LOG_SPAN, %trace_id, otelTraceID = self.context.trace.id())
    }

    /// The span of a step, in the trace of its invocation. A process that exports traces adds the span's own id.
    pub(super) fn step_span(&self, plugin_version: &str, facts: &StepFacts) -> Span {
        self.linked(tracing::error_span!(
            "step",
            trace_id = %facts.trace_id,
            invoke_count = facts.invoke_count,
            plugin_version,
            otelTraceID = self.context.trace.id(),
            otelSpanID = Empty,
            otel.status_code = Empty,
        ))
    }

    /// The span of one post of a finish callback, in the trace of its invocation.
    pub(super) fn post_span(&self, finish: &Finish) -> Span {
        self.linked(tracing::error_span!(
            "finish_callback",
            trace_id = %finish.trace_id,
            attempt = finish.attempt,
            otelTraceID = self.context.trace.id(),
            otelSpanID = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
        ))
    }

    fn linked(&self, span: Span) -> Span {
        if let Some(link) = self.engine.link_span {
            link(&span, &self.context.trace, self.context.cause.as_ref());
        }
        span
    }
}
