//! Coercion of single values, as pydantic v1 (that is, Python) does it.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::{datetime, plan::Scalar};

/// The value as the wanted type, or none if that is not possible. A value that is of it already is borrowed.
pub(super) fn coerced(wanted: Scalar, value: &Value) -> Option<Cow<'_, Value>> {
    let coerced = match (wanted, value) {
        (Scalar::Bool, Value::Bool(_)) | (Scalar::Text, Value::String(_)) | (Scalar::Null, Value::Null) => {
            return Some(Cow::Borrowed(value));
        }
        (Scalar::Integer | Scalar::Number, Value::Number(number))
            if number.is_f64() == (wanted == Scalar::Number) =>
        {
            return Some(Cow::Borrowed(value));
        }
        (Scalar::DateTime, Value::String(text)) if datetime::is_date_time(text) => {
            return Some(Cow::Borrowed(value));
        }
        (Scalar::Bool, value) => boolean(value).map(Value::Bool),
        (Scalar::Integer, value) => integer(value).map(Value::Number),
        (Scalar::Number, value) => number(value).and_then(Number::from_f64).map(Value::Number),
        (Scalar::Text, value) => text(value).map(Value::String),
        (Scalar::DateTime, value) => date_time(value).map(Value::String),
        (Scalar::Null, _) => None,
    };
    coerced.map(Cow::Owned)
}

fn boolean(value: &Value) -> Option<bool> {
    let text = match value {
        Value::Number(number) => number_text(&Number::from_f64(number.as_f64()?)?),
        Value::String(text) => text.to_lowercase(),
        _ => return None,
    };
    match (text.as_str(), value.is_number()) {
        ("1.0", true) | ("1" | "on" | "t" | "true" | "y" | "yes", false) => Some(true),
        ("0.0" | "-0.0", true) | ("0" | "off" | "f" | "false" | "n" | "no", false) => Some(false),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<Number> {
    match value {
        Value::Bool(flag) => Some(u64::from(*flag).into()),
        // Without a fraction only: pydantic would cut it off, unseen.
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
            whole_number(&format!("{number:.0}"))
        }
        Value::String(text) => whole_number(&numeric_text(text)?),
        _ => None,
    }
}

fn whole_number(digits: &str) -> Option<Number> {
    let signed = digits.parse::<i64>().map(Number::from);
    signed.or_else(|_| digits.parse::<u64>().map(Number::from)).ok()
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => numeric_text(text)?.parse().ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        Value::Number(number) => Some(number_text(number)),
        _ => None,
    }
}

fn date_time(value: &Value) -> Option<String> {
    match (number(value), value) {
        (Some(seconds), _) => datetime::of_seconds(seconds),
        (None, Value::String(text)) => datetime::of_text(text),
        _ => None,
    }
}

/// A number as Python's `str` writes it.
pub(super) fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    // Rust turns to the exponent where Python does, but writes it without sign and padding.
    let text = format!("{float:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{mantissa}e-{exponent:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

/// Takes from a number's text what Python allows in it and Rust does not: spaces around, underscores between
/// digits.
fn numeric_text(text: &str) -> Option<String> {
    let text = text.trim();
    let groups: Vec<&str> = text.split('_').collect();
    let digits_meet = groups.windows(2).all(|pair| {
        pair[0].ends_with(|last: char| last.is_ascii_digit())
            && pair[1].starts_with(|first: char| first.is_ascii_digit())
    });
    digits_meet.then(|| groups.concat())
}
