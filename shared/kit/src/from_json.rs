//! Reads JSON as the author's types, and says what does not fit by its place, without its value.

mod culprit;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use self::culprit::culprit;

/// The author's value. The message names the place where the JSON does not fit, and repeats no value.
pub(crate) fn from_json<T: DeserializeOwned>(json: &Value) -> Result<T, String> {
    read(json).map_err(|unfit| unfit.to_string())
}

/// The same for values that a caller sends. Where serde does not know the place, it is found by reading again; one
/// reading looks at `reads` values, or at fewer.
pub(crate) fn from_values<T: DeserializeOwned>(
    values: &Value,
    reads: impl FnOnce() -> u64,
) -> Result<T, String> {
    read(values).map_err(|mut unfit: Unfit| {
        if !unfit.is_complete
            && let Some(place) = culprit::<T>(values, &unfit.said, reads())
        {
            unfit.place = Some(place);
        }
        unfit.to_string()
    })
}

/// Why JSON does not fit a type.
struct Unfit {
    place: Option<String>,
    /// Whether the place is a single value. Else serde may have read a copy, whose places it does not know.
    is_complete: bool,
    /// In serde's words, with the value.
    said: String,
    without_values: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}", self.without_values),
            None => formatter.write_str(&self.without_values),
        }
    }
}

fn read<T: DeserializeOwned>(json: &Value) -> Result<T, Unfit> {
    serde_path_to_error::deserialize(json).map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
        Unfit {
            place: Some(error.path().to_string()).filter(|place| place != "."),
            is_complete: is_scalar_at(json, error.path()),
            said: error.inner().to_string(),
            without_values: without_values(error.inner()),
        }
    })
}

fn is_scalar_at(json: &Value, path: &Path) -> bool {
    let found = path.iter().try_fold(json, |value, segment| match segment {
        Segment::Seq { index } => value.get(index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { variant } => value.get(variant),
        Segment::Unknown => None,
    });
    found.is_some_and(|value| !value.is_array() && !value.is_object())
}

/// What a JSON error says without the value it is about: it may be a secret, and the text goes to the log and to the
/// caller.
pub(crate) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for beginning in ["invalid type:", "invalid value:", "unknown variant"] {
        let Some(rest) = text.strip_prefix(beginning) else { continue };
        // "string \"hunter2\", expected struct Job": the kind is in front of the value, what is expected last.
        let expected = rest.rfind(", expected ").unwrap_or(rest.len());
        let value = match rest.find(['"', '`']) {
            Some(value) => value,
            None if ["map", "sequence", "null"].contains(&rest[..expected].trim()) => expected,
            // Only an author's own code says something else without quotes: it may be the value.
            None => 0,
        };
        return format!("{beginning}{}{}", rest[..value.min(expected)].trim_end(), &rest[expected..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "read only")]
    struct Job {
        state: Option<State>,
    }

    #[derive(Deserialize)]
    enum State {
        Done,
    }

    #[test]
    fn an_error_out_of_a_copy_is_said_by_its_place() {
        /// An even number.
        #[derive(Debug)]
        struct Even;

        impl<'de> Deserialize<'de> for Even {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let even = u32::deserialize(deserializer)? % 2 == 0;
                if even { Ok(Self) } else { Err(serde::de::Error::custom("must be even")) }
            }
        }

        #[derive(Debug, Deserialize)]
        #[serde(tag = "op")]
        #[allow(dead_code, reason = "read only")]
        enum Rule {
            Not { of: Vec<Rule> },
            Is { text: IpAddr, number: Even },
        }

        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "read only")]
        struct Inputs {
            name: String,
            #[serde(flatten)]
            flat: Flat,
            #[serde(flatten)]
            other: Option<Rule>,
        }

        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "read only")]
        struct Flat {
            rules: Vec<Rule>,
            even: Even,
            #[serde(default)]
            spans: Vec<Span>,
        }

        #[derive(Debug, Deserialize)]
        #[serde(try_from = "Unchecked")]
        struct Span;

        #[derive(Deserialize)]
        struct Unchecked {
            from: u8,
            until: u8,
        }

        impl TryFrom<Unchecked> for Span {
            type Error = &'static str;

            fn try_from(span: Unchecked) -> Result<Self, Self::Error> {
                if span.from <= span.until { Ok(Self) } else { Err("it ends before it begins") }
            }
        }

        let said = |json: Value| from_values::<Inputs>(&json, || 50).unwrap_err();
        let is = |text: &str, number| json!({"text": text, "number": number, "op": "Is"});
        assert_eq!(said(json!({"even": 1, "rules": [], "name": "n"})), "even: must be even");
        let rules = json!([is("::1", 2), {"op": "Not", "of": [is("::1", 2), is("::1", 3)]}]);
        assert_eq!(
            said(json!({"rules": rules, "even": 2, "name": "n"})),
            "rules[1].of[1].number: must be even"
        );
        let rules = json!([is("::1", 2), is("hunter2", 2)]);
        assert_eq!(
            said(json!({"rules": rules, "even": 2, "name": "n"})),
            "rules[1].text: invalid IP address syntax"
        );
        let even = json!({"even": 1, "rules": [], "name": "n"});
        let costly = from_values::<Inputs>(&even, || 1_000_000).unwrap_err();
        assert_eq!(costly, "must be even", "what costs much to read is not read again");
        // There is no scalar to name.
        let span = |from: u8, until: u8| json!({"rules": [], "even": 2, "name": "n", "spans": [{"from": from, "until": until}]});
        assert_eq!(said(span(2, 1)), "it ends before it begins");
        assert_eq!(
            said(json!({"rules": [], "even": 2, "name": "n", "spans": [{"until": 2, "from": -1}]})),
            "spans[0].from: invalid value: integer, expected u8"
        );
        assert_eq!(said(json!({"rules": [], "name": "n"})), "missing field `even`");
        assert_eq!(
            said(json!({"rules": {}, "even": 2, "name": "n"})),
            "invalid type: map, expected a sequence"
        );
    }

    #[test]
    fn values_are_left_out() {
        for (body, said) in [
            (json!("it is hunter2, expected 1"), "invalid type: string, expected struct Job"),
            (json!({"state": "hunter2"}), "unknown variant, expected `Done`"),
            (json!(42), "invalid type: integer, expected struct Job"),
            (json!({"state": {"hunter2": [1, 2]}}), "unknown variant, expected `Done`"),
        ] {
            let error = Job::deserialize(&body).err().unwrap();
            assert_eq!(without_values(&error), said);
        }
    }
}
