//! Checks the values that a caller sends against the schema of a plugin, and converts them to its types.
//!
//! Forms and other systems send `"1"` for a number and `1` for a text. Pydantic v1, which the reference
//! validates with, reads these as they are meant, and so does [`Model::check`]: first every value is coerced to
//! the type its field wants, then the result is checked against the schema. Where coercion would lose
//! something (`1.5` for an integer, an integer beyond 64 bits) the value is refused.
//!
//! | module | what it does |
//! |---|---|
//! | `plan` | reads the schema once, into nodes; `aliases` finds the names that it does not have |
//! | `walk` | looks at each value with each node at most once, and remembers |
//! | `coercion` | finds what to change; `patch` is what it finds |
//! | `explanation` | says what is wrong, if something is |
//! | `reading`, `work` | count what the check and serde cost, and end it |

mod aliases;
mod coercion;
mod datetime;
mod explanation;
mod messages;
mod patch;
mod plan;
mod reading;
mod scalar;
#[cfg(test)]
mod tests;
mod walk;
mod work;

use std::fmt;
use std::net::IpAddr;

use bk_plugin_core::JsonObject;
use jsonschema::{Draft, Validator};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::explanation::{Explanation, Place};
use self::plan::Plan;
use self::walk::Walk;
use self::work::Work;
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
}

impl Model {
    /// The model of a type.
    pub fn of<T: DeserializeOwned + JsonSchema>() -> Result<Self, ModelError> {
        let source = schema::raw_schema::<T>()?;
        let mut plan = Plan::of(&source)?;
        for alias in aliases::of::<T>(&plan) {
            plan.add_alias(alias);
        }
        Ok(Self { schema: schema::present(&source), plan })
    }

    /// The schema as `detail` shows it.
    pub fn schema(&self) -> &JsonObject {
        &self.schema
    }

    /// Coerces `values` to the types of their fields and checks them, naming every field that fails.
    ///
    /// Returns values that fit already as they are. A missing field that has a default stays missing, because
    /// deserializing fills it in; unknown fields stay unless the type denies them.
    ///
    /// The work is bounded by the size of the values times the size of the schema. A type that serde itself needs
    /// more for is refused.
    pub fn check(&self, values: JsonObject) -> Result<JsonObject, Invalid> {
        let values = Value::Object(values);
        let mut work = Work::on(&values);
        self.check_within(&mut work, values)
    }

    /// How many values serde reads to read values that fit, at most.
    pub(crate) fn values_read(&self, values: &Value) -> u64 {
        Walk::new(&self.plan, &mut Work::on(values)).foreseen_reading(values)
    }

    fn check_within(&self, work: &mut Work, mut values: Value) -> Result<JsonObject, Invalid> {
        let patch = Walk::new(&self.plan, work).coerce(self.plan.root, &values);
        if let Some(patch) = patch {
            values = patch.apply(values);
        }
        // Another walk: what was found of the values as they were says nothing about these.
        let mut walk = Walk::new(&self.plan, work);
        if walk.is_valid(self.plan.root, &values) {
            walk.foresee_reading(&values);
            if walk.work.refusal().is_none()
                && let Value::Object(values) = values
            {
                return Ok(values);
            }
        }
        Err(self.invalid(walk, &values))
    }

    /// Everything that is wrong with the values, in the order of the fields.
    #[cold]
    fn invalid(&self, mut walk: Walk<'_>, values: &Value) -> Invalid {
        let mut explanation = Explanation::default();
        walk.explain(self.plan.root, values, &Place::Root, &mut explanation);
        if let Some(refusal) = walk.work.refusal() {
            return Invalid { problems: vec![refusal], are_all: true };
        }
        let are_all = !explanation.is_cut;
        let mut problems = explanation.into_problems();
        let properties = self.schema.get("properties").and_then(Value::as_object);
        problems.sort_by_cached_key(|problem| {
            let position =
                properties.and_then(|of| of.keys().position(|name| name == problem.top_level_field()));
            position.unwrap_or(usize::MAX)
        });
        if problems.is_empty() {
            problems.push(Problem { field: String::new(), message: messages::NOT_PERMITTED.to_owned() });
        }
        Invalid { problems, are_all }
    }
}

/// Compiles a draft 7 schema, `format` included.
fn compile(document: &Value) -> Result<Validator, ModelError> {
    jsonschema::options()
        .with_draft(Draft::Draft7)
        .should_validate_formats(true)
        // Unlike RFC 3339, the reference takes a time without an offset.
        .with_format("date-time", datetime::is_date_time)
        // The formats of `IpAddr` and `Uuid`, which draft 7 does not have. Without them serde refuses a text that does
        // not fit, and cannot always say where it is.
        .with_format("ip", |text: &str| text.parse::<IpAddr>().is_ok())
        .with_format("uuid", is_uuid)
        .build(document)
        .map_err(|error| ModelError::Schema { reason: error.to_string() })
}

/// Whether a text is a UUID in one of the forms that are read: with hyphens or without, in braces or with `urn:uuid:`.
fn is_uuid(text: &str) -> bool {
    let text = text.strip_prefix("urn:uuid:").unwrap_or(text);
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    digits.by_ref().take(32).filter(u8::is_ascii_hexdigit).count() == 32 && digits.next().is_none()
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
    /// The type is made of nothing but itself, such as `enum E { Number(i64), Again(Box<E>) }` without a tag: neither
    /// the check nor serde would come to an end.
    #[error("the type `{definition}` contains itself with nothing around it")]
    Endless {
        /// The name of the type in its schema.
        definition: String,
    },
}

/// The values do not fit: the problems found, in the order of the fields.
///
/// The text names fields and expectations, never a value: a value may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// At least one.
    pub problems: Vec<Problem>,
    /// Whether these are all. A great many are not collected.
    pub are_all: bool,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().take(PROBLEMS_SHOWN).enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(formatter, "{separator}{problem}")?;
        }
        match self.problems.len().saturating_sub(PROBLEMS_SHOWN) {
            0 if self.are_all => Ok(()),
            0 => formatter.write_str("; and more"),
            more if self.are_all => write!(formatter, "; and {more} more"),
            more => write!(formatter, "; and more than {more} more"),
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
