//! What an author writes: one type a version, with typed inputs, and one `execute`.

use std::future::Future;
use std::time::Duration;

use crate::context::PluginContext;
use crate::error::Result;
use crate::next::Next;
use crate::types::Inputs;
use crate::version_number;

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
///     type Context = Context<Outputs>;
///
///     async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
///         cx.outputs.set(Outputs { world: inputs.hello });
///         Ok(Next::done())
///     }
/// }
/// ```
pub trait Plugin: Send + Sync + Sized + 'static {
    /// Version number, description and options.
    const META: Meta;

    /// What the plugin's user fills in; [`Empty`](crate::Empty) if nothing. Checked and coerced before `execute` sees it.
    type Inputs: Inputs;

    /// A [`Context`](crate::Context) of the other types that the version uses: `Context<Outputs, Storage, ContextInputs>`.
    /// Leave out from the right what it does not use: `Context` is a version without outputs.
    type Context: PluginContext;

    /// Runs one step and returns what comes next.
    ///
    /// The same step may be run more than once, because a process can die before the result is written: pass
    /// [`Context::step_id`](crate::Context::step_id) to outside calls that must not be made twice. The future is dropped
    /// when the step's time limit is over. Slow blocking work belongs on `tokio::task::spawn_blocking`.
    fn execute(
        &self,
        inputs: Self::Inputs,
        cx: &mut Self::Context,
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
    pub form: Option<&'static str>,
    #[doc(hidden)]
    pub enable_plugin_callback: bool,
    #[doc(hidden)]
    pub step_time_limit: Option<Duration>,
}

impl Meta {
    /// The version's number: a [semantic version](https://semver.org), or a number as BlueKing allows them, such as
    /// `1.0.0assistant`. A number that is neither does not compile:
    ///
    /// ```compile_fail
    /// # use bk_plugin_kit::prelude::*;
    /// const META: Meta = Meta::version("1.0");
    /// ```
    ///
    /// # Panics
    ///
    /// If the number is not valid.
    pub const fn version(version: &'static str) -> Self {
        assert!(
            version_number::is_valid(version),
            "this is not a version number: write one such as 1.2.0, 1.2.0-rc.1 or 1.2.0assistant"
        );
        Self { version, desc: "", form: None, enable_plugin_callback: false, step_time_limit: None }
    }

    /// A description for the plugin's users.
    #[must_use]
    pub const fn desc(self, desc: &'static str) -> Self {
        Self { desc, ..self }
    }

    /// The text of the version's form: what `include_str!` makes of `forms/<version>/form.js`.
    #[must_use]
    pub const fn form(self, form: &'static str) -> Self {
        Self { form: Some(form), ..self }
    }

    /// Callers that pass `plugin_callback_info` in the context are told of the end by a finish callback, so they need
    /// not poll.
    #[must_use]
    pub const fn enable_plugin_callback(self) -> Self {
        Self { enable_plugin_callback: true, ..self }
    }

    /// A time limit for each step of this version, if it is shorter than that of the process
    /// (`BK_PLUGIN_STEP_TIME_LIMIT`): a step that takes longer ends in FAIL.
    #[must_use]
    pub const fn step_time_limit(self, limit: Duration) -> Self {
        Self { step_time_limit: Some(limit), ..self }
    }
}
