//! Context of the one request or message being handled.

use bk_plugin_core::trace_context::TraceContext;

use super::TimeBudget;

/// Context of the one request or message being handled: its trace and, if the process can be killed, its time
/// budget. The server sets only the trace.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// The time left to a process that will be killed.
    pub time_budget: Option<TimeBudget>,
    /// The trace of the request. A message's own trace replaces it, and the invocation's replaces both.
    pub trace: TraceContext,
    /// Trace that triggered this call, if it differs from the invocation's own (a callback, for example). Attached
    /// to the step's span as a link.
    pub cause: Option<TraceContext>,
    /// The handle of the delivery, if other author code of the process may begin while the message is handled. A step
    /// that runs alone can then let it in.
    pub handle: Option<String>,
}

impl CallContext {
    /// Makes the message's trace, if it has one, the current trace.
    pub(super) fn enter_message(&mut self, trace: &TraceContext) {
        if !trace.is_empty() {
            self.trace.clone_from(trace);
            self.cause = None;
        }
    }

    /// Makes the invocation's trace, if it has one, the current trace. The trace that was current becomes the cause.
    pub(super) fn enter_invocation(&mut self, trace: &TraceContext) {
        if !trace.is_empty() && *trace != self.trace {
            let before = std::mem::replace(&mut self.trace, trace.clone());
            self.cause = (!before.is_empty()).then_some(before);
        }
    }
}
