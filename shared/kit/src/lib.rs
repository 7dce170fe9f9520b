//! bk-plugin-kit
#![deny(missing_docs)]

pub mod clock;
pub mod ids;
pub mod queue;
pub mod record;
pub mod table;

/// A JSON object that keeps the order of its keys.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
