//! What an author writes: one type a version, with typed inputs, context, storage and outputs, and one
//! `execute`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;
use crate::error::{Result, unexpected, without_values};
use crate::ids::CallbackId;

/// One version of a plugin.
///
/// ```
/// use bk_plugin_kit::prelude::*;
///
/// #[derive(Deserialize, JsonSchema)]
/// pub struct Inputs {
///     hello: String,
/// }
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// pub struct Outputs {
///     world: String,
/// }
///
/// pub struct Echo;
///
/// impl Plugin for Echo {
///     const META: Meta = Meta::version("1.0.0").desc("answers what it is told");
///     type Inputs = Inputs;
///     type ContextInputs = Empty;
///     type Storage = ();
///     type Outputs = Outputs;
///
///     async fn execute(&self, inputs: Inputs, cx: &mut Context<Self>) -> Result<Next> {
///         cx.outputs = Some(Outputs { world: inputs.hello });
///         Ok(Next::done())
///     }
/// }
/// ```
pub trait Plugin: Send + Sync + Sized + 'static {
    /// Version, description and options.
    const META: Meta;

    /// What the plugin's user fills in. Checked and coerced before `execute` sees it.
    type Inputs: DeserializeOwned + JsonSchema + Send;
    /// What the calling system passes along; [`Empty`] if nothing is needed.
    type ContextInputs: DeserializeOwned + JsonSchema + Send;
    /// What the plugin keeps from one step to the next; `()` if nothing.
    type Storage: Default + Serialize + DeserializeOwned + Send;
    /// What the plugin puts out; [`Empty`] if nothing.
    type Outputs: Serialize + DeserializeOwned + JsonSchema + Send;

    /// Runs one step and says what comes next.
    ///
    /// It may be run more than once for the same step (a process can die before the result is written):
    /// give [`Context::step_id`] to outside calls that must not be made twice. The future is dropped when
    /// the step's time limit is over. Slow blocking work belongs on `tokio::task::spawn_blocking`.
    fn execute(
        &self,
        inputs: Self::Inputs,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = Result<Next>> + Send;
}

/// What a version says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub(crate) version: &'static str,
    pub(crate) desc: &'static str,
    pub(crate) enable_plugin_callback: bool,
}

impl Meta {
    /// The version's number, a [semantic version](https://semver.org); checked when the project is built.
    pub const fn version(version: &'static str) -> Self {
        Self { version, desc: "", enable_plugin_callback: false }
    }

    /// A description for the plugin's users.
    #[must_use]
    pub const fn desc(self, desc: &'static str) -> Self {
        Self { desc, ..self }
    }

    /// Callers that pass `plugin_callback_info` in the context are told of the end by a finish callback
    /// and need not poll.
    #[must_use]
    pub const fn enable_plugin_callback(self) -> Self {
        Self { enable_plugin_callback: true, ..self }
    }
}

/// Inputs, context or outputs without any field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct Empty {}

/// What comes after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The invocation ends in SUCCESS.
    Done,
    /// POLL: `execute` is run again after this time.
    Poll(Duration),
    /// CALLBACK: `execute` is run again when a prepared callback is called.
    Callback(CallbackWait),
}

/// How long a callback is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackWait {
    /// Until it comes.
    Forever,
    /// This long; then the invocation ends in FAIL.
    OrFail(Duration),
    /// This long; then `execute` is run with [`Event::TimedOut`].
    OrRun(Duration),
}

impl Next {
    /// The invocation ends in SUCCESS.
    pub const fn done() -> Self {
        Self::Done
    }

    /// `execute` is run again after `interval`: the reference's `wait_poll`.
    pub const fn poll(interval: Duration) -> Self {
        Self::Poll(interval)
    }

    /// `execute` is run again when a prepared callback is called: the reference's `wait_callback`.
    pub const fn callback() -> Self {
        Self::Callback(CallbackWait::Forever)
    }

    /// As [`Next::callback`]; without a call for `timeout` the invocation ends in FAIL.
    pub const fn callback_or_fail(timeout: Duration) -> Self {
        Self::Callback(CallbackWait::OrFail(timeout))
    }

    /// As [`Next::callback`]; without a call for `timeout`, `execute` is run with [`Event::TimedOut`].
    pub const fn callback_or_run(timeout: Duration) -> Self {
        Self::Callback(CallbackWait::OrRun(timeout))
    }
}

/// So many seconds: `Next::poll(secs(5))`.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Why `execute` is run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The plugin was invoked: the first step (the reference's `State.EMPTY`).
    Invoked,
    /// The interval is over (`State.POLL`).
    Polled,
    /// A prepared callback was called (`State.CALLBACK`).
    Called(Callback),
    /// No callback came in the time given to [`Next::callback_or_run`].
    TimedOut,
}

/// A call to a callback URL. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Callback {
    id: CallbackId,
    data: Arc<Value>,
}

impl Callback {
    pub(crate) fn new(id: CallbackId, data: Value) -> Self {
        Self { id, data: Arc::new(data) }
    }

    /// Which of the prepared callbacks was called.
    pub fn id(&self) -> &CallbackId {
        &self.id
    }

    /// Whether the prepared callback with this id was called; an `Option` of an id, as a plugin keeps it in
    /// its storage, will do.
    ///
    /// ```
    /// # use bk_plugin_kit::prelude::*;
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Storage {
    ///     job: Option<CallbackId>,
    /// }
    ///
    /// fn is_of_the_job(callback: &Callback, storage: &Storage) -> bool {
    ///     callback.is(&storage.job)
    /// }
    /// ```
    pub fn is<'a>(&self, prepared: impl Into<Option<&'a CallbackId>>) -> bool {
        prepared.into() == Some(&self.id)
    }

    /// The body of the call: any JSON value.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The body of the call as the author's own type. The error does not repeat what was in the body.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(self.data.as_ref()).or_else(|error| {
            unexpected(format!("the callback's body does not fit: {}", without_values(&error)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_knows_which_was_prepared() {
        let (job, cancel) = (CallbackId::random(), CallbackId::random());
        let callback = Callback::new(job.clone(), Value::Null);
        assert!(callback.is(&job) && callback.is(&Some(job)));
        assert!(!callback.is(&cancel) && !callback.is(&Some(cancel)) && !callback.is(&None));
    }
}
