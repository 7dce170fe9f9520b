//! Checks the values that a caller sends against the schema of a plugin, and converts them to its types.
//!
//! Forms and other systems send `"1"` for a number and `1` for a text. Pydantic v1, which the reference
//! validates with, reads these as they are meant, and so does [`Model::check`]: first every value is coerced to
//! the type its field wants, then the result is checked with a JSON Schema validator. Where coercion would lose
//! something (`1.5` for an integer, an integer beyond 64 bits) the value is refused.

mod coercion;
mod datetime;
mod messages;
mod plan;
mod scalar;
#[cfg(test)]
mod tests;

use std::fmt;

use bk_plugin_core::JsonObject;
use jsonschema::{Draft, Validator};
use schemars::JsonSchema;
use serde_json::Value;

use self::plan::Plan;
use crate::schema::{self, SchemaError};

/// Problems that the text of an [`Invalid`] spells out. A long list of wrong values should not become a long message.
const PROBLEMS_SHOWN: usize = 50;

/// The inputs, outputs or context of one plugin version: their schema, and how values are checked against it.
///
/// Building one compiles the schema; do it once per version.
#[derive(Debug)]
pub struct Model {
    schema: JsonObject,
    plan: Plan,
    validator: Validator,
}

impl Model {
    /// The model of a type.
    pub fn of<T: JsonSchema>() -> Result<Self, ModelError> {
        let source = schema::raw_schema::<T>()?;
        Ok(Self {
            schema: schema::present(&source),
            plan: Plan::of(&source)?,
            validator: compile(&source.document(&source.root))?,
        })
    }

    /// The schema as `detail` shows it.
    pub fn schema(&self) -> &JsonObject {
        &self.schema
    }

    /// Coerces `values` to the types of their fields and checks them, naming every field that fails.
    ///
    /// Returns values that fit already as they are. A missing field that has a default stays missing, because
    /// deserializing fills it in; unknown fields stay unless the type denies them.
    pub fn check(&self, values: JsonObject) -> Result<JsonObject, Invalid> {
        let mut values = Value::Object(values);
        let refused = self.plan.coerce(&mut values);
        let fits = refused.is_empty() && self.validator.is_valid(&values);
        match values {
            Value::Object(values) if fits => Ok(values),
            values => Err(self.invalid(&values, refused)),
        }
    }

    /// The values that could not be coerced and everything else that the validator finds, in the order of the fields.
    #[cold]
    fn invalid(&self, values: &Value, refused: Vec<Problem>) -> Invalid {
        let mut problems = messages::complete(refused, self.validator.iter_errors(values));
        let properties = self.schema.get("properties").and_then(Value::as_object);
        problems.sort_by_cached_key(|problem| {
            let position =
                properties.and_then(|of| of.keys().position(|name| name == problem.top_level_field()));
            position.unwrap_or(usize::MAX)
        });
        Invalid { problems }
    }
}

/// Compiles a draft 7 schema, `format` included.
fn compile(document: &Value) -> Result<Validator, ModelError> {
    jsonschema::options()
        .with_draft(Draft::Draft7)
        .should_validate_formats(true)
        // Unlike RFC 3339, the reference takes a time without an offset.
        .with_format("date-time", datetime::is_date_time)
        .build(document)
        .map_err(|error| ModelError::Schema { reason: error.to_string() })
}

/// A type that values cannot be checked against. It is always a mistake in the plugin's code, never in a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The type does not describe named fields.
    #[error(transparent)]
    Shape(#[from] SchemaError),
    /// The type's schema is not valid JSON Schema; some attribute, such as a regex, is wrong.
    #[error("the schema of the type does not compile: {reason}")]
    Schema {
        /// What the validator said.
        reason: String,
    },
}

/// The values do not fit: every problem found, in the order of the fields.
///
/// The text names fields and expectations, never a value: a value may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().take(PROBLEMS_SHOWN).enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(formatter, "{separator}{problem}")?;
        }
        match self.problems.len().saturating_sub(PROBLEMS_SHOWN) {
            0 => Ok(()),
            more => write!(formatter, "; and {more} more"),
        }
    }
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Where, as a path: `options.name`, `list[2]`. Empty if it is about all fields together.
    pub field: String,
    /// What, in pydantic's words where it has some.
    pub message: String,
}

impl Problem {
    fn top_level_field(&self) -> &str {
        self.field.split(['.', '[']).next().unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.field, self.message)
        }
    }
}
