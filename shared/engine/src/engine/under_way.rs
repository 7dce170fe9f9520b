//! The invocations of which this process runs a later step.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bk_plugin_core::ids::TraceId;

/// The invocations of which this process runs a later step. A step that has not come back is one of them, even if its
/// time is over and its lease with it: no wake-up starts it, or the next one, a second time here.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashSet<TraceId>>);

/// Keeps an invocation under way until the step's future is dropped.
pub(super) struct RunningStep {
    all: Arc<UnderWay>,
    trace_id: TraceId,
}

impl UnderWay {
    /// Notes that a step of the invocation begins; `None` if one has begun already.
    pub(super) fn begin(self: &Arc<Self>, trace_id: &TraceId) -> Option<RunningStep> {
        let is_new = self.all().insert(trace_id.clone());
        is_new.then(|| RunningStep { all: Arc::clone(self), trace_id: trace_id.clone() })
    }

    pub(super) fn contains(&self, trace_id: &TraceId) -> bool {
        self.all().contains(trace_id)
    }

    fn all(&self) -> MutexGuard<'_, HashSet<TraceId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningStep {
    fn drop(&mut self) {
        self.all.all().remove(&self.trace_id);
    }
}
