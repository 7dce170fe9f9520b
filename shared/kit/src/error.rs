//! How a step says that it failed: an author's error and an unexpected one are kept apart.

use std::fmt::Display;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bk_plugin_core::error_text::with_sources;
use serde_json::json;

/// Why `execute` failed.
///
/// The two kinds end the invocation in FAIL alike, but differ in what is kept and in what the log says:
/// after [`Error::Fail`] (the reference's `self.Error`) the outputs and storage of this step are kept; after
/// [`Error::Unexpected`] those of the step before.
///
/// Any `std::error::Error` becomes an unexpected error through `?`:
///
/// ```
/// # use crate::error::{Result, fail};
/// fn port(text: &str) -> Result<u16> {
///     let port: u16 = text.parse()?; // unexpected: "invalid digit found in string"
///     if port == 0 {
///         return fail("port 0 cannot be used"); // FAIL in the author's own words
///     }
///     Ok(port)
/// }
/// # assert!(port("x").is_err() && port("0").is_err());
/// ```
#[derive(Debug)]
pub enum Error {
    /// The author ended the invocation; the text is for the user.
    Fail(String),
    /// Something the author did not foresee.
    Unexpected(Box<dyn std::error::Error + Send + Sync>),
}

/// What a plugin's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Unexpected(Box::new(error))
    }
}

/// Ends the invocation in FAIL with the author's words: the reference's `raise self.Error(message)`.
///
/// Whatever can be displayed will do, so it also turns another error into one in the author's words:
///
/// ```
/// # use crate::error::{Result, fail};
/// fn port(text: &str) -> Result<u16> {
///     text.parse().or_else(fail) // where `text.parse()?` would be unexpected
/// }
/// # assert!(port("x").is_err());
/// ```
pub fn fail<T>(message: impl Display) -> Result<T> {
    Err(Error::Fail(message.to_string()))
}

/// Ends the invocation in FAIL as an unexpected error, for what cannot happen if all is well.
pub fn unexpected<T>(message: impl Display) -> Result<T> {
    Err(Error::Unexpected(message.to_string().into()))
}

/// What a JSON error says without the value it is about: it may be a secret, and the text goes to the log and
/// to the caller.
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

/// Stands in the extensions of an answer that is an unexpected error of one of the author's routes; holds its text.
#[derive(Debug, Clone)]
pub struct UnexpectedError(pub String);

/// The answer of an author's handler that returns the kit's `Result`: 400 in the author's own words, or 500
/// for an unexpected error (in the reference's words, typo included).
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Fail(message) => envelope(StatusCode::BAD_REQUEST, &message),
            Self::Unexpected(error) => {
                let text = with_sources(&*error);
                tracing::error!(error = text, "a route of the author's failed");
                let message = format!("unknow error, please contact plugin developers: {text}");
                let mut response = envelope(StatusCode::INTERNAL_SERVER_ERROR, &message);
                response.extensions_mut().insert(UnexpectedError(text));
                response
            }
        }
    }
}

fn envelope(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"result": false, "data": null, "message": message}))).into_response()
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
