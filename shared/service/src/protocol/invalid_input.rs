//! Everything that is wrong with a call's input, reported at once.

use bk_plugin_core::JsonObject;
use serde_json::Value;

use super::envelope::Failure;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct InvalidInput(Vec<String>);

impl InvalidInput {
    pub(super) fn add(&mut self, key: &str, what: impl std::fmt::Display) {
        self.0.push(format!("{key}: {what}"));
    }

    pub(super) fn missing(&mut self, key: &str) {
        self.add(key, "this field is required");
    }

    /// Succeeds if nothing is wrong; otherwise a 400 with the reference's prefix.
    pub(super) fn check(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(failure(&self.0.join("; "))) }
    }

    /// The keys of a body that must be an object.
    pub(super) fn keys(body: Value) -> Result<JsonObject, Failure> {
        match body {
            Value::Object(keys) => Ok(keys),
            other => Err(failure(&format!("the body {}", must_be_an_object(&other)))),
        }
    }

    /// Takes an object out of `keys`.
    pub(super) fn object(&mut self, keys: &mut JsonObject, key: &str) -> Option<JsonObject> {
        match keys.swap_remove(key) {
            Some(Value::Object(object)) => return Some(object),
            Some(other) => self.add(key, must_be_an_object(&other)),
            None => self.missing(key),
        }
        None
    }
}

fn failure(what: &str) -> Failure {
    Failure::bad_request(format!("输入不合法: {what}"))
}

/// The message for a value that is not an object.
pub(super) fn must_be_an_object(value: &Value) -> String {
    format!("must be an object, not {}", kind(value))
}

/// The type of a value, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
