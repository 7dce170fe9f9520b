//! A plugin version with its types erased, so that the engine and the registry can hold any of them.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use futures::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::JsonObject;
use crate::context::{Context, StepFacts};
use crate::error::{self, Error, without_values};
use crate::plugin::{Meta, Next, Plugin};
use crate::validation::{Invalid, Model, ModelError};

/// The models of a version: what `detail` shows and what calls are checked against.
pub(crate) struct Models {
    pub(crate) inputs: Model,
    pub(crate) context_inputs: Model,
    pub(crate) outputs: Model,
}

/// Everything `execute` runs on, as JSON.
pub(crate) struct StepInput {
    pub(crate) facts: StepFacts,
    pub(crate) inputs: JsonObject,
    pub(crate) context: JsonObject,
    pub(crate) storage: Value,
    pub(crate) outputs: Value,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Stepped {
    /// `execute` said what comes next.
    Next { next: Next, storage: Value, outputs: Value },
    /// The author's error: what the step left is kept.
    Failed { message: String, storage: Value, outputs: Value },
    /// Any other error or a panic: what the step left is not kept.
    Unexpected { message: String },
    /// The inputs or the context do not validate; `execute` was not run.
    Invalid { message: String },
}

/// A version of any plugin.
#[async_trait]
pub(crate) trait Version: Send + Sync {
    fn meta(&self) -> Meta;
    fn type_name(&self) -> &'static str;
    fn models(&self) -> &Models;
    async fn step(&self, input: StepInput) -> Stepped;
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

    async fn run(&self, input: StepInput) -> Stepped {
        let inputs = match typed::<P::Inputs>("inputs", &self.models.inputs, input.inputs) {
            Ok(inputs) => inputs,
            Err(message) => return Stepped::Invalid { message },
        };
        let data = match typed::<P::ContextInputs>("context", &self.models.context_inputs, input.context) {
            Ok(data) => data,
            Err(message) => return Stepped::Invalid { message },
        };
        let (storage, outputs) = match (storage_from_json(input.storage), outputs_from_json(input.outputs)) {
            (Ok(storage), Ok(outputs)) => (storage, outputs),
            (Err(message), _) | (_, Err(message)) => return Stepped::Unexpected { message },
        };
        let mut cx = Context::new(data, storage, outputs, input.facts);
        let result = self.plugin.execute(inputs, &mut cx).await;
        if let Err(Error::Unexpected(error)) = result {
            return Stepped::Unexpected { message: error::with_sources(&*error) };
        }
        match (to_json("storage", &cx.storage), outputs_to_json(cx.outputs.as_ref()), result) {
            (Ok(storage), Ok(outputs), Ok(next)) => Stepped::Next { next, storage, outputs },
            (Ok(storage), Ok(outputs), Err(error)) => {
                Stepped::Failed { message: fail_text(error), storage, outputs }
            }
            (Err(message), _, _) | (_, Err(message), _) => Stepped::Unexpected { message },
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

    async fn step(&self, input: StepInput) -> Stepped {
        // Around everything of the author's: a panic may come from a Serialize as well as from `execute`.
        let ended = AssertUnwindSafe(self.run(input)).catch_unwind().await;
        ended.unwrap_or_else(|panic| Stepped::Unexpected {
            message: format!("panicked: {}", panic_text(&*panic)),
        })
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
        Error::Unexpected(error) => error::with_sources(&*error),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
