//! What an author writes: one type a version, with typed inputs, context, storage and outputs, and one
//! `execute`.

use std::future::Future;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::Result;
use crate::next::Next;

/// One version of a plugin.
///
/// ```
/// use crate::prelude::*;
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
    #[doc(hidden)]
    pub version: &'static str,
    #[doc(hidden)]
    pub desc: &'static str,
    #[doc(hidden)]
    pub enable_plugin_callback: bool,
    #[doc(hidden)]
    pub step_time_limit: Option<Duration>,
}

impl Meta {
    /// The version's number, a [semantic version](https://semver.org); checked when the project is built.
    pub const fn version(version: &'static str) -> Self {
        Self { version, desc: "", enable_plugin_callback: false, step_time_limit: None }
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

    /// The time limit of a step of this version: a step that takes longer ends in FAIL. The limit of the process
    /// (`BK_PLUGIN_STEP_TIME_LIMIT`) still holds if it is shorter.
    #[must_use]
    pub const fn step_time_limit(self, limit: Duration) -> Self {
        Self { step_time_limit: Some(limit), ..self }
    }
}

/// Inputs, context or outputs without any field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct Empty {}
