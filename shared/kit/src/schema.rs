//! The JSON Schema of a plugin's inputs, outputs and context, in the shape the reference gives it.
//!
//! A Rust type has two schemas here. The raw schema is what `schemars` makes of the type, in draft 7: it knows which
//! fields may be null and how wide an integer is, and values are checked against it. [`of`] returns the schema that `detail`
//! shows: the raw schema rewritten as pydantic v1 would have written it, because callers build forms from it.
//!
//! A bound that equals the bound of the Rust type (`range(min = 0)` on a `u32`) does not show, because the two look the same.
//! Give the field a wider type if forms should see the bound.

mod pydantic;
mod raw;
#[cfg(test)]
mod tests;

pub(crate) use pydantic::present;
pub use pydantic::title_of;
pub(crate) use raw::{RawSchema, definition_name, is_null_type, is_number_format, raw_schema};

use bk_plugin_core::JsonObject;
use schemars::JsonSchema;

/// A type that cannot be the inputs, outputs or context of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The type has no named fields. Forms and callers speak of fields by name, so it must be a struct or a map.
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
    Ok(present(&raw_schema::<T>()?))
}
