//! A plugin version with its types erased, so that the engine and the registry can hold any of them.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, Location};

use async_trait::async_trait;
use bk_plugin_core::JsonObject;
use futures::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::{PluginContext, StepFacts};
use crate::finite::not_finite;
use crate::from_json::{from_json, from_values};
use crate::next::Next;
use crate::plugin::{Meta, Plugin};
use crate::types::Inputs as _;
use crate::validation::{Invalid, Model, ModelError};

/// The models of a version: what `detail` shows and what calls are checked against.
pub struct Models {
    /// Of the inputs.
    pub inputs: Model,
    /// Of the context inputs.
    pub context_inputs: Model,
    /// Of the outputs.
    pub outputs: Model,
}

/// Everything `execute` runs on, as JSON.
pub struct StepInput {
    /// What the step is told.
    pub facts: StepFacts,
    /// The inputs as they came.
    pub inputs: JsonObject,
    /// The context as it came.
    pub context: JsonObject,
    /// What the step before left in storage; null before the first step.
    pub storage: Value,
    /// What the steps before have put out.
    pub outputs: Value,
}

/// What came of a step.
#[derive(Debug)]
pub enum StepOutcome {
    /// `execute` said what comes next.
    Next(Next, StepState),
    /// An error in the author's words: the state that the step left is kept.
    Failed(Failure, StepState),
    /// Any other error or a panic: the state that the step left is not kept.
    Unexpected(Failure),
    /// The inputs or the context do not validate; `execute` was not run.
    Invalid(String),
}

/// What a step leaves for the next one.
#[derive(Debug)]
pub struct StepState {
    /// What the plugin keeps, as JSON.
    pub storage: Value,
    /// What the plugin has put out, as JSON.
    pub outputs: Value,
    /// How many callbacks the step has prepared.
    pub prepared: u32,
}

/// Why a step failed, and where.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// The line of the author's code, if it is known. It is for the log.
    pub at: Option<&'static Location<'static>>,
}

impl Failure {
    /// A failure that no line of the author's code can be blamed for.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None }
    }
}

/// A version of any plugin.
#[async_trait]
pub trait Version: Send + Sync {
    /// What the version says of itself.
    fn meta(&self) -> Meta;
    /// The name of its Rust type.
    fn type_name(&self) -> &'static str;
    /// Its models.
    fn models(&self) -> &Models;
    /// Why it could not be made, if so. Every step of it fails with this reason.
    fn defect(&self) -> Option<&str>;
    /// Runs one step. A panic of the author's code is an unexpected error.
    async fn step(&self, input: StepInput) -> StepOutcome;
}

/// A plugin and its models.
pub(crate) struct Typed<P> {
    /// The author's value, or why it could not be made.
    plugin: Result<P, String>,
    models: Models,
}

impl<P: Plugin> Typed<P> {
    pub(crate) fn new(plugin: Result<P, String>) -> Result<Self, ModelError> {
        let models = Models {
            inputs: P::Inputs::model()?,
            context_inputs: Model::of::<<P::Context as PluginContext>::ContextInputs>()?,
            outputs: Model::of::<<P::Context as PluginContext>::Outputs>()?,
        };
        Ok(Self { plugin, models })
    }

    async fn run(&self, input: StepInput) -> StepOutcome {
        let inputs = match checked("inputs", &self.models.inputs, input.inputs, P::Inputs::read) {
            Ok(inputs) => inputs,
            Err(message) => return StepOutcome::Invalid(message),
        };
        let data = match checked("context", &self.models.context_inputs, input.context, |values, model| {
            from_values(values, || model.values_read(values))
        }) {
            Ok(data) => data,
            Err(message) => return StepOutcome::Invalid(message),
        };
        let plugin = match &self.plugin {
            Ok(plugin) => plugin,
            Err(reason) => return StepOutcome::Unexpected(Failure::nowhere(reason)),
        };
        let (storage, outputs) = match (storage_from_json(&input.storage), outputs_from_json(&input.outputs))
        {
            (Ok(storage), Ok(outputs)) => (storage, outputs),
            (Err(message), _) | (_, Err(message)) => {
                return StepOutcome::Unexpected(Failure::nowhere(message));
            }
        };
        let mut cx = P::Context::new(data, storage, outputs, input.facts);
        let result = plugin.execute(inputs, &mut cx).await;
        let failed = |error: crate::Error| Failure { message: error.to_string(), at: Some(error.location()) };
        match result {
            Err(error) if !error.is_fail() => StepOutcome::Unexpected(failed(error)),
            result => match (left_by(&cx), result) {
                (Ok(state), Ok(next)) => StepOutcome::Next(next, state),
                (Ok(state), Err(error)) => StepOutcome::Failed(failed(error), state),
                (Err(message), _) => StepOutcome::Unexpected(Failure::nowhere(message)),
            },
        }
    }
}

#[async_trait]
impl<P: Plugin> Version for Typed<P> {
    fn meta(&self) -> Meta {
        P::META
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<P>()
    }

    fn models(&self) -> &Models {
        &self.models
    }

    fn defect(&self) -> Option<&str> {
        self.plugin.as_ref().err().map(String::as_str)
    }

    async fn step(&self, input: StepInput) -> StepOutcome {
        // Around everything of the author's: a panic may come from a Serialize as well as from `execute`.
        let outcome = AssertUnwindSafe(self.run(input)).catch_unwind().await;
        outcome.unwrap_or_else(|panic| {
            StepOutcome::Unexpected(Failure::nowhere(format!("panicked: {}", panic_text(&*panic))))
        })
    }
}

/// Checks, coerces and reads the values of a call; the message has the reference's prefix.
fn checked<T>(
    what: &str,
    model: &Model,
    values: JsonObject,
    read: impl FnOnce(&Value, &Model) -> Result<T, String>,
) -> Result<T, String> {
    let invalid = |reason: &dyn Display| format!("{what} validation error: {reason}");
    let values = model.check(values).map_err(|error: Invalid| invalid(&error))?;
    // The model is looser than the type where an author's own Deserialize asks for more.
    read(&Value::Object(values), model).map_err(|said| invalid(&said))
}

fn storage_from_json<T: DeserializeOwned + Default>(stored: &Value) -> Result<T, String> {
    if stored.is_null() {
        return Ok(T::default());
    }
    from_json(stored).map_err(|said| format!("the stored storage does not fit the version's Storage: {said}"))
}

fn outputs_from_json<T: DeserializeOwned>(stored: &Value) -> Result<Option<T>, String> {
    if stored.as_object().is_some_and(JsonObject::is_empty) {
        return Ok(None);
    }
    let outputs = from_json(stored).map(Some);
    outputs.map_err(|said| format!("the stored outputs do not fit the version's Outputs: {said}"))
}

/// What a step leaves in its context.
fn left_by(cx: &impl PluginContext) -> Result<StepState, String> {
    let (storage, outputs, facts) = cx.parts();
    let nothing = || Ok(Value::Object(JsonObject::new()));
    Ok(StepState {
        storage: to_json("storage", storage)?,
        outputs: outputs.map_or_else(nothing, |outputs| to_json("outputs", outputs))?,
        prepared: facts.prepared,
    })
}

fn to_json<T: Serialize>(what: &str, value: &T) -> Result<Value, String> {
    let json = serde_json::to_value(value)
        .map_err(|error| format!("plugin context json dumps error: {what}: {error}"))?;
    if let Some(place) = not_finite(value) {
        let at = if place == "." { String::new() } else { format!("{place}: ") };
        return Err(format!(
            "plugin context json dumps error: {what}: {at}NaN and infinity are not JSON numbers"
        ));
    }
    if is_deeper_than(&json, DEEPEST) {
        return Err(format!(
            "plugin context json dumps error: {what}: nested deeper than {DEEPEST} levels, which could not be \
             read back"
        ));
    }
    Ok(json)
}

/// serde_json reads 128 levels; a record has some around what a plugin leaves.
const DEEPEST: usize = 100;

fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let deeper = |inner: &Value| levels == 0 || is_deeper_than(inner, levels - 1);
    match value {
        Value::Array(values) => values.iter().any(deeper),
        Value::Object(values) => values.values().any(deeper),
        _ => false,
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
