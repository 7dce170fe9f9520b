//! Reads JSON as the author's types, and says what does not fit by its place, without its value.

use serde::de::{DeserializeOwned, Deserializer};

/// The author's value. The message names the place where the JSON does not fit, and repeats no value.
pub(crate) fn from_json<'de, T: DeserializeOwned>(
    json: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<T, String> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let (at, what) = (error.path().to_string(), without_values(error.inner()));
        if at == "." { what } else { format!("{at}: {what}") }
    })
}

/// What a JSON error says without the value it is about: it may be a secret, and the text goes to the log and to the
/// caller.
pub(crate) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for beginning in ["invalid type:", "invalid value:", "unknown variant"] {
        let Some(rest) = text.strip_prefix(beginning) else { continue };
        // "string \"hunter2\", expected struct Job": the kind is in front of the value, what is expected last.
        let value = rest.find(['"', '`']).unwrap_or(0);
        let expected = rest.rfind(", expected ").unwrap_or(rest.len());
        return format!("{beginning}{}{}", rest[..value.min(expected)].trim_end(), &rest[expected..]);
    }
    text
}

#[cfg(test)]
mod tests {
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
