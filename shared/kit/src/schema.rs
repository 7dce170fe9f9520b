//! The JSON Schema of a plugin's inputs, outputs and context, in the shape the reference gives it.
//!
//! A Rust type has two schemas here. Its source is what `schemars` makes of it, as draft 7: it knows which
//! fields may be null and how wide an integer is, and values are checked against it. What [`of`] gives is what
//! `detail` shows: the same rewritten as pydantic v1 would have written it, because forms are built from it.
//!
//! A bound that equals the one of the Rust type (`range(min = 0)` on a `u32`) cannot be told from it and does
//! not show; give the field a wider type if forms should see it.

mod pydantic;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use pydantic::present;
pub use pydantic::title_of;
pub(crate) use source::{Source, is_null_type, reference_name, source};

use bk_plugin_core::JsonObject;
use schemars::JsonSchema;

/// A type that cannot be the inputs, outputs or context of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Forms and callers speak of named fields, so only a struct (or a map) will do.
    #[error("`{type_name}` does not describe an object with named fields; use a struct")]
    NotAnObject {
        /// The name of the Rust type in its schema.
        type_name: String,
    },
}

/// The schema of `T` as `detail` shows it: exactly `type`, `properties`, `required` and `definitions`.
///
/// ```
/// #[derive(schemars::JsonSchema)]
/// struct Inputs {
///     retry_count: Option<u8>,
/// }
///
/// let schema = bk_plugin_kit::runtime::schema::of::<Inputs>().expect("a struct");
/// assert_eq!(
///     serde_json::Value::from(schema),
///     serde_json::json!({
///         "type": "object",
///         "properties": {"retry_count": {"title": "Retry Count", "type": "integer"}},
///         "required": [],
///         "definitions": {}
///     })
/// );
/// ```
pub fn of<T: JsonSchema>() -> Result<JsonObject, SchemaError> {
    Ok(present(&source::<T>()?))
}
