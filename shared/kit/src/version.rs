//! A plugin version with its types erased, so that the engine and the registry can hold any of them.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use bk_plugin_core::JsonObject;
use bk_plugin_core::error_text::with_sources;
use futures::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::{Context, StepFacts};
use crate::error::{Error, without_values};
use crate::next::Next;
use crate::plugin::{Meta, Plugin};
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
    /// The author's error, in the author's words: the state that the step left is kept.
    Failed(String, StepState),
    /// Any other error or a panic: the state that the step left is not kept.
    Unexpected(String),
    /// The inputs or the context do not validate; `execute` was not run.
    Invalid(String),
}

/// What a step leaves for the next one, as JSON.
#[derive(Debug)]
pub struct StepState {
    /// What the plugin keeps.
    pub storage: Value,
    /// What the plugin has put out.
    pub outputs: Value,
    /// How many callbacks the step has prepared.
    pub prepared: u32,
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
    /// Runs one step. A panic of the author's code is an unexpected error.
    async fn step(&self, input: StepInput) -> StepOutcome;
}

/// A plugin and its models.
pub(crate) struct Typed<P> {
    plugin: P,
    models: Models,
}

impl<P: Plugin> Typed<P> {
    pub(crate) fn new(plugin: P) -> Result<Self, ModelError> {
        let models = Models {
            inputs: Model::of::<P::Inputs>()?,
            context_inputs: Model::of::<P::ContextInputs>()?,
            outputs: Model::of::<P::Outputs>()?,
        };
        Ok(Self { plugin, models })
    }

    async fn run(&self, input: StepInput) -> StepOutcome {
        let inputs = match typed::<P::Inputs>("inputs", &self.models.inputs, input.inputs) {
            Ok(inputs) => inputs,
            Err(message) => return StepOutcome::Invalid(message),
        };
        let data = match typed::<P::ContextInputs>("context", &self.models.context_inputs, input.context) {
            Ok(data) => data,
            Err(message) => return StepOutcome::Invalid(message),
        };
        let (storage, outputs) = match (storage_from_json(input.storage), outputs_from_json(input.outputs)) {
            (Ok(storage), Ok(outputs)) => (storage, outputs),
            (Err(message), _) | (_, Err(message)) => return StepOutcome::Unexpected(message),
        };
        let mut cx = Context::new(data, storage, outputs, input.facts);
        let result = self.plugin.execute(inputs, &mut cx).await;
        if let Err(Error::Unexpected(error)) = result {
            return StepOutcome::Unexpected(with_sources(&*error));
        }
        let state = to_json("storage", &cx.storage).and_then(|storage| {
            let outputs = outputs_to_json(cx.outputs.as_ref())?;
            Ok(StepState { storage, outputs, prepared: cx.prepared() })
        });
        match (state, result) {
            (Ok(state), Ok(next)) => StepOutcome::Next(next, state),
            (Ok(state), Err(error)) => StepOutcome::Failed(fail_text(error), state),
            (Err(message), _) => StepOutcome::Unexpected(message),
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

    async fn step(&self, input: StepInput) -> StepOutcome {
        // Around everything of the author's: a panic may come from a Serialize as well as from `execute`.
        let outcome = AssertUnwindSafe(self.run(input)).catch_unwind().await;
        outcome.unwrap_or_else(|panic| StepOutcome::Unexpected(format!("panicked: {}", panic_text(&*panic))))
    }
}

/// Checks, coerces and reads the values of a call; the message has the reference's prefix.
fn typed<T: DeserializeOwned>(what: &str, model: &Model, values: JsonObject) -> Result<T, String> {
    let invalid = |reason: &dyn std::fmt::Display| format!("{what} validation error: {reason}");
    let values = model.check(values).map_err(|error: Invalid| invalid(&error))?;
    // The model is looser than the type where an author's own Deserialize asks for more.
    T::deserialize(Value::Object(values)).map_err(|error| invalid(&without_values(&error)))
}

fn storage_from_json<T: DeserializeOwned + Default>(stored: Value) -> Result<T, String> {
    if stored.is_null() {
        return Ok(T::default());
    }
    T::deserialize(stored).map_err(|error| {
        format!("the stored storage does not fit the version's Storage: {}", without_values(&error))
    })
}

fn outputs_from_json<T: DeserializeOwned>(stored: Value) -> Result<Option<T>, String> {
    if stored.as_object().is_some_and(JsonObject::is_empty) {
        return Ok(None);
    }
    T::deserialize(stored).map(Some).map_err(|error| {
        format!("the stored outputs do not fit the version's Outputs: {}", without_values(&error))
    })
}

fn outputs_to_json<T: Serialize>(outputs: Option<&T>) -> Result<Value, String> {
    outputs.map_or_else(|| Ok(Value::Object(JsonObject::new())), |outputs| to_json("outputs", outputs))
}

fn to_json<T: Serialize>(what: &str, value: &T) -> Result<Value, String> {
    let json = serde_json::to_value(value)
        .map_err(|error| format!("plugin context json dumps error: {what}: {error}"))?;
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

fn fail_text(error: Error) -> String {
    match error {
        Error::Fail(message) => message,
        Error::Unexpected(error) => with_sources(&*error),
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
