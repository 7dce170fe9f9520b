//! What a step is given besides its inputs, and where it puts what it leaves.

use std::sync::Arc;

use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{CallbackId, TraceId};

use crate::event::{Event, PreparedCallback};
use crate::types::{ContextInputs, Empty, Outputs, Storage};

/// One step of one invocation, as its plugin sees it: `Context<Outputs, Storage, ContextInputs>`.
///
/// A version names the types it uses; the others have defaults. Functions that help a plugin can take
/// `&mut Context<Outputs>` without naming the plugin.
pub struct Context<O = Empty, S = (), C = Empty> {
    /// The context inputs: what the calling system passed along.
    pub data: C,
    /// What the plugin keeps from step to step. Written with the result of the step.
    pub storage: S,
    /// What the plugin has put out.
    pub outputs: Output<O>,
    step: StepFacts,
}

/// What a plugin has put out: nothing, on the wire `{}`, until it sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output<O>(Option<O>);

impl<O> Output<O> {
    /// Replaces what was put out.
    pub fn set(&mut self, outputs: O) {
        self.0 = Some(outputs);
    }

    /// What was put out so far, if anything was.
    pub fn get(&self) -> Option<&O> {
        self.0.as_ref()
    }

    /// What was put out so far, to be changed; the default value if nothing was.
    pub fn edit(&mut self) -> &mut O
    where
        O: Default,
    {
        self.0.get_or_insert_default()
    }
}

impl<O, S, C> Context<O, S, C> {
    /// Why this step is run.
    pub fn event(&self) -> Event {
        self.step.event.clone()
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

    /// A key that is the same when this step is run again: pass it to outside calls that must not be made twice, as
    /// their idempotency key.
    pub fn step_id(&self) -> String {
        format!("{}-{}", self.step.trace_id, self.step.invoke_count)
    }

    /// The present moment. In a test with the `Harness` it is the test's own.
    pub fn now(&self) -> Timestamp {
        self.step.host.now()
    }

    /// When the plugin was invoked, the same in all steps of the invocation.
    ///
    /// ```
    /// # use bk_plugin_kit::prelude::*;
    /// # use std::time::Duration;
    /// fn give_up_after_ten_minutes(cx: &Context) -> Result<()> {
    ///     if cx.now().since(cx.started_at()) > Duration::from_mins(10) {
    ///         fail!("it did not end within ten minutes");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn started_at(&self) -> Timestamp {
        self.step.started_at
    }

    /// The URL of the callback with this name, for a third party to POST any JSON to;
    /// [`Callback::is`](crate::Callback::is) tells by the name which callback was called.
    ///
    /// The same name is the same callback in every step of the invocation. It may be called many times; every call is
    /// one step. The URL is a credential: its holder can call.
    pub fn callback_url(&mut self, name: &str) -> String {
        let id = CallbackId::named(&self.step.trace_id, name);
        self.url_of(&id)
    }

    /// Prepares a callback that is told by its id instead of by a name, as the reference's `prepare_callback`: a step
    /// that is run again prepares the same ids in the same order. Keep the id in the storage.
    pub fn prepare_callback(&mut self) -> PreparedCallback {
        let step = &self.step;
        let id = CallbackId::nth(&step.trace_id, step.invoke_count, step.prepared + 1);
        PreparedCallback { url: self.url_of(&id), id }
    }

    fn url_of(&mut self, id: &CallbackId) -> String {
        self.step.prepared += 1;
        self.step.host.callback_url(&self.step.trace_id, id)
    }
}

/// Implemented by [`Context`] alone, for outputs, storage and context inputs that a plugin can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the context of a plugin",
    label = "write `Context<Outputs, Storage, ContextInputs>`, and leave out from the right what is not used"
)]
pub trait PluginContext: sealed::Sealed + Send {
    /// What the plugin puts out.
    type Outputs: Outputs;
    /// What the plugin keeps from step to step.
    type Storage: Storage;
    /// What the calling system passes along.
    type ContextInputs: ContextInputs;

    #[doc(hidden)]
    fn new(
        data: Self::ContextInputs,
        storage: Self::Storage,
        outputs: Option<Self::Outputs>,
        step: StepFacts,
    ) -> Self;
    #[doc(hidden)]
    fn parts(&self) -> (&Self::Storage, Option<&Self::Outputs>, &StepFacts);
}

impl<O: Outputs, S: Storage, C: ContextInputs> PluginContext for Context<O, S, C> {
    type Outputs = O;
    type Storage = S;
    type ContextInputs = C;

    fn new(data: C, storage: S, outputs: Option<O>, step: StepFacts) -> Self {
        Self { data, storage, outputs: Output(outputs), step }
    }

    fn parts(&self) -> (&S, Option<&O>, &StepFacts) {
        (&self.storage, self.outputs.get(), &self.step)
    }
}

mod sealed {
    pub trait Sealed {}
    impl<O, S, C> Sealed for super::Context<O, S, C> {}
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
    /// When the plugin was invoked.
    pub started_at: Timestamp,
    /// What runs the step.
    pub host: Arc<dyn StepHost>,
    /// How many callbacks the step has prepared so far.
    pub prepared: u32,
}

/// What a step asks of the engine that runs it.
pub trait StepHost: Send + Sync {
    /// The URL of a callback.
    fn callback_url(&self, trace_id: &TraceId, id: &CallbackId) -> String;

    /// The present moment.
    fn now(&self) -> Timestamp;
}
