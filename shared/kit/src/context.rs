//! What a step is given besides its inputs, and where it puts what it leaves.

use std::sync::Arc;

use crate::callback_token::CallbackUrls;
use crate::caller::Caller;
use crate::ids::{CallbackId, TraceId};
use crate::plugin::{Event, Plugin};
use crate::record::State;

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

/// The untyped facts of a step.
#[derive(Clone)]
pub(crate) struct StepFacts {
    pub(crate) trace_id: TraceId,
    pub(crate) invoke_count: u32,
    pub(crate) event: Event,
    pub(crate) caller: Caller,
    pub(crate) urls: Arc<CallbackUrls>,
    pub(crate) prepared: u32,
}

/// A callback that a third party can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedCallback {
    /// Names the callback: [`Callback::id`](crate::plugin::Callback::id) when it is called.
    pub id: CallbackId,
    /// The URL to POST any JSON to. It may be called many times; every call is one step. The URL is a
    /// credential: whoever has it can call.
    pub url: String,
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
