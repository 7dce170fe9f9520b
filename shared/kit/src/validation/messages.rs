//! The messages about values that do not fit, in pydantic's words where it has some.
//!
//! Nothing here may repeat a value that was sent.

use std::borrow::Cow;

use jsonschema::{
    JsonType,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::{Location, LocationSegment},
};
use serde_json::Value;

use super::plan::Scalar;

pub(super) const NULL: &str = "none is not an allowed value";
pub(super) const LIST: &str = "value is not a valid list";
pub(super) const TUPLE: &str = "value is not a valid tuple";
pub(super) const SET: &str = "value is not a valid set";
pub(super) const OBJECT: &str = "value is not a valid dict";
pub(super) const NO_MEMBER: &str = "value is none of the permitted kinds";
pub(super) const NOT_PERMITTED: &str = "value is not permitted";

pub(super) fn expected(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "value could not be parsed to a boolean",
        Scalar::Integer => "value is not a valid integer",
        Scalar::Number => "value is not a valid float",
        Scalar::Text => "str type expected",
        Scalar::DateTime => "invalid datetime format",
        Scalar::Null => "value is not none",
    }
}

pub(super) fn not_a_choice(permitted: &[Value]) -> String {
    let permitted: Vec<String> = permitted
        .iter()
        .filter(|value| !value.is_null())
        .map(|value| value.as_str().map_or_else(|| value.to_string(), |text| format!("'{text}'")))
        .collect();
    format!("value is not a valid enumeration member; permitted: {}", permitted.join(", "))
}

pub(super) fn tuple_length(length: usize, expected: usize) -> String {
    format!("wrong tuple length {length}, expected {expected}")
}

/// What a rule says that a value breaks.
pub(super) fn message(kind: &Kind) -> Cow<'static, str> {
    match kind {
        Kind::Type { kind } => type_message(kind).into(),
        Kind::Enum { options } => not_a_choice(options.as_array().map_or(&[], Vec::as_slice)).into(),
        Kind::Constant { expected_value } => not_a_choice(std::slice::from_ref(expected_value)).into(),
        Kind::Minimum { limit } => format!("ensure this value is greater than or equal to {limit}").into(),
        Kind::ExclusiveMinimum { limit } => format!("ensure this value is greater than {limit}").into(),
        Kind::Maximum { limit } => format!("ensure this value is less than or equal to {limit}").into(),
        Kind::ExclusiveMaximum { limit } => format!("ensure this value is less than {limit}").into(),
        Kind::MultipleOf { multiple_of } => {
            format!("ensure this value is a multiple of {multiple_of}").into()
        }
        Kind::MinLength { limit } => format!("ensure this value has at least {limit} characters").into(),
        Kind::MaxLength { limit } => format!("ensure this value has at most {limit} characters").into(),
        Kind::Pattern { pattern } => format!("string does not match regex \"{pattern}\"").into(),
        Kind::MinItems { limit } | Kind::MinProperties { limit } => {
            format!("ensure this value has at least {limit} items").into()
        }
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => {
            format!("ensure this value has at most {limit} items").into()
        }
        Kind::UniqueItems => "ensure this value has unique items".into(),
        Kind::Format { format } if format == "date-time" => expected(Scalar::DateTime).into(),
        Kind::Format { format } => format!("value is not a valid {format}").into(),
        _ => NOT_PERMITTED.into(),
    }
}

fn type_message(kind: &TypeKind) -> &'static str {
    let TypeKind::Single(json_type) = kind else { return NO_MEMBER };
    match json_type {
        JsonType::Array => LIST,
        JsonType::Object => OBJECT,
        JsonType::Boolean => expected(Scalar::Bool),
        JsonType::Integer => expected(Scalar::Integer),
        JsonType::Number => expected(Scalar::Number),
        JsonType::String => expected(Scalar::Text),
        JsonType::Null => expected(Scalar::Null),
    }
}

/// The place inside of a value that a rule is about: most rules are about the value itself, which is the empty path.
pub(super) fn path(location: &Location) -> String {
    location.segments().fold(String::new(), |path, segment| match segment {
        LocationSegment::Property(name) => format!("{path}.{name}"),
        LocationSegment::Index(position) => format!("{path}[{position}]"),
    })
}
