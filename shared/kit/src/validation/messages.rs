//! The messages about values that do not fit, in pydantic's words where it has some.
//!
//! Nothing here may repeat a value that was sent.

use std::{borrow::Cow, collections::HashSet};

use jsonschema::{
    JsonType, ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
    paths::{Location, LocationSegment},
};
use serde_json::Value;

use super::{Problem, plan::Scalar};

pub(super) const NULL: &str = "none is not an allowed value";
pub(super) const LIST: &str = "value is not a valid list";
pub(super) const TUPLE: &str = "value is not a valid tuple";
pub(super) const SET: &str = "value is not a valid set";
pub(super) const OBJECT: &str = "value is not a valid dict";
const NO_MEMBER: &str = "value is none of the permitted kinds";

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

/// Why a value fits no member of a union, given what is wrong with each.
pub(super) fn no_member(field: &str, reasons: &[Problem]) -> String {
    let mut messages: Vec<&str> = Vec::new();
    for reason in reasons {
        if reason.field != field {
            // A problem deep inside one of several forms says little about the others.
            return NO_MEMBER.to_owned();
        }
        if !messages.contains(&reason.message.as_str()) {
            messages.push(&reason.message);
        }
    }
    if messages.is_empty() { NO_MEMBER.to_owned() } else { messages.join(" or ") }
}

/// The refused fields, and what the validator finds wrong with the others.
pub(super) fn complete<'v>(
    mut refused: Vec<Problem>,
    errors: impl Iterator<Item = ValidationError<'v>>,
) -> Vec<Problem> {
    let mut found = Vec::new();
    errors.for_each(|error| collect(&error, &mut found));

    // Sets, because a list sent by a caller may hold a great many wrong values.
    let fields: HashSet<&str> = refused.iter().map(|problem| problem.field.as_str()).collect();
    let outer_fields: HashSet<&str> = fields.iter().flat_map(|field| enclosing(field)).collect();
    let mut said = HashSet::new();
    found.retain(|problem| {
        let explained = enclosing(&problem.field).any(|outer| fields.contains(outer))
            || problem.message == NO_MEMBER && outer_fields.contains(problem.field.as_str());
        !explained && said.insert(problem.clone())
    });
    refused.extend(found);
    refused
}

/// A path and all that lead to it: `a.b[1]`, `a.b` and `a`.
fn enclosing(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices(['.', '[']).map(|(end, _)| &path[..end]);
    ends.chain([path])
}

fn collect(error: &ValidationError<'_>, problems: &mut Vec<Problem>) {
    let field = path(error.instance_path());
    let mut push = |field: String, message: Cow<'static, str>| {
        problems.push(Problem { field, message: message.into_owned() });
    };
    match error.kind() {
        Kind::Required { property } => {
            push(below(&field, property.as_str().unwrap_or_default()), "field required".into());
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                push(below(&field, name), "extra fields not permitted".into());
            }
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => match only_form(context) {
            Some(errors) => errors.iter().for_each(|error| collect(error, problems)),
            None => push(field, NO_MEMBER.into()),
        },
        kind => push(field, message(kind)),
    }
}

/// What is wrong with the one form an optional value has, apart from null.
fn only_form<'c>(context: &'c [Vec<ValidationError<'static>>]) -> Option<&'c [ValidationError<'static>]> {
    let is_null = |errors: &[ValidationError<'_>]| matches!(errors, [only] if matches!(only.kind(), Kind::Type { kind: TypeKind::Single(JsonType::Null) }));
    let mut forms = context.iter().map(Vec::as_slice).filter(|errors| !is_null(errors));
    match (forms.next(), forms.next()) {
        (Some(only), None) if context.len() > 1 => Some(only),
        _ => None,
    }
}

fn message(kind: &Kind) -> Cow<'static, str> {
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
        _ => "value is not permitted".into(),
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

fn path(location: &Location) -> String {
    location.segments().fold(String::new(), |path, segment| match segment {
        LocationSegment::Property(name) => below(&path, &name),
        LocationSegment::Index(position) => format!("{path}[{position}]"),
    })
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
