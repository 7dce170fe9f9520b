//! bk-plugin-kit

pub mod schema;
pub mod validation;

/// A JSON object, as inputs, outputs and schemas are.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
