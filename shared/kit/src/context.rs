//! What a step is given besides its inputs, and where it puts what it leaves.

use std::sync::Arc;

use bk_plugin_core::caller::Caller;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::State;

use crate::event::{Event, PreparedCallback};
use crate::plugin::Plugin;

/// One step of one invocation, as its plugin sees it.
pub struct Context<P: Plugin> {
    /// The context inputs: what the calling system passed along.
    pub data: P::ContextInputs,
    /// What the plugin keeps from step to step. Written with the result of the step.
    pub storage: P::Storage,
    /// What the plugin has put out: `None` (on the wire `{}`) until it sets it.
    pub outputs: Option<P::Outputs>,
    step: StepFacts,
}

/// What a step is told, whatever its types are.
#[derive(Clone)]
pub struct StepFacts {
    /// The invocation.
    pub trace_id: TraceId,
    /// Which step this is, counted from 1.
    pub invoke_count: u32,
    /// Why the step is run.
    pub event: Event,
    /// Who invoked the plugin.
    pub caller: Caller,
    /// Makes the URLs of callbacks.
    pub urls: Arc<dyn PrepareCallback>,
    /// How many callbacks the step has prepared so far.
    pub prepared: u32,
}

/// Makes callbacks: the engine does, and knows where they are to be called.
pub trait PrepareCallback: Send + Sync {
    /// The callback that is the `nth` of a step.
    fn prepare(&self, trace_id: &TraceId, invoke_count: u32, nth: u32) -> PreparedCallback;
}

impl<P: Plugin> Context<P> {
    pub(crate) fn new(
        data: P::ContextInputs,
        storage: P::Storage,
        outputs: Option<P::Outputs>,
        step: StepFacts,
    ) -> Self {
        Self { data, storage, outputs, step }
    }

    /// How many callbacks the step has prepared so far.
    pub(crate) fn prepared(&self) -> u32 {
        self.step.prepared
    }

    /// Why this step is run.
    pub fn event(&self) -> Event {
        self.step.event.clone()
    }

    /// The state the invocation is in: EMPTY, POLL or CALLBACK.
    pub fn state(&self) -> State {
        match self.step.event {
            Event::Invoked => State::Empty,
            Event::Polled => State::Poll,
            Event::Called(_) | Event::TimedOut => State::Callback,
        }
    }

    /// The invocation's name, the same in all its steps.
    pub fn trace_id(&self) -> &TraceId {
        &self.step.trace_id
    }

    /// Which step this is, counted from 1.
    pub fn invoke_count(&self) -> u32 {
        self.step.invoke_count
    }

    /// Who invoked the plugin, the same in all its steps.
    pub fn caller(&self) -> &Caller {
        &self.step.caller
    }

    /// A key that is the same when this step is run again: give it to outside calls that must not be made
    /// twice, as their idempotency key.
    pub fn step_id(&self) -> String {
        format!("{}-{}", self.step.trace_id, self.step.invoke_count)
    }

    /// Prepares a callback: an id to tell it by and a URL to hand out. A step that is run again prepares
    /// the same ids in the same order.
    pub fn prepare_callback(&mut self) -> PreparedCallback {
        self.step.prepared += 1;
        let step = &self.step;
        step.urls.prepare(&step.trace_id, step.invoke_count, step.prepared)
    }
}
