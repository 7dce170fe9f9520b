//! How a step says that it failed.

use std::fmt::{self, Display};
use std::panic::Location;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bk_plugin_core::error_text::with_sources;
use serde_json::json;

/// What a plugin's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why `execute` failed: with the author's words ([`fail!`](crate::fail)), or unexpectedly.
///
/// The two kinds end the invocation in FAIL alike, but differ in what is kept and in what the log says: after an error
/// in the author's words (the reference's `self.Error`) the outputs and storage of this step are kept; after an
/// unexpected one, those of the step before. An error knows the line that it came from; the log has it, the caller does
/// not.
///
/// Any `std::error::Error` becomes an unexpected error through `?`:
///
/// ```
/// # use bk_plugin_kit::prelude::*;
/// fn port(text: &str) -> Result<u16> {
///     let port: u16 = text.parse()?; // unexpected: "invalid digit found in string"
///     if port == 0 {
///         fail!("port {port} cannot be used"); // FAIL in the author's own words
///     }
///     Ok(port)
/// }
/// # assert!(port("x").is_err_and(|error| !error.is_fail()) && port("0").is_err_and(|error| error.is_fail()));
/// ```
///
/// What is no `std::error::Error` (a text, a `Box<dyn Error>`, an `anyhow::Error`) becomes either through [`OrFail`].
pub struct Error {
    cause: Cause,
    at: &'static Location<'static>,
}

enum Cause {
    Fail(String),
    Unexpected(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error in the author's words, for the plugin's user.
    #[track_caller]
    pub fn fail(message: impl Display) -> Self {
        Self { cause: Cause::Fail(message.to_string()), at: Location::caller() }
    }

    /// An unexpected error, for what cannot happen if all is well.
    #[track_caller]
    pub fn unexpected(message: impl Display) -> Self {
        Self { cause: Cause::Unexpected(message.to_string().into()), at: Location::caller() }
    }

    /// Whether it is one in the author's words.
    pub fn is_fail(&self) -> bool {
        matches!(self.cause, Cause::Fail(_))
    }

    /// The line of the `?`, the [`fail!`](crate::fail) or the call that made it.
    pub fn location(&self) -> &'static Location<'static> {
        self.at
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Self {
        Self { cause: Cause::Unexpected(Box::new(error)), at: Location::caller() }
    }
}

/// What went wrong, with everything that it came from.
impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Fail(message) => f.write_str(message),
            Cause::Unexpected(error) => f.write_str(&with_sources(&**error)),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_fail() { "Fail" } else { "Unexpected" };
        write!(f, "{kind}({:?}, at {})", self.to_string(), self.at)
    }
}

/// Returns from the function with an error in the author's words, written as for `format!`: the reference's
/// `raise self.Error(message)`. The invocation ends in FAIL.
///
/// ```
/// # use bk_plugin_kit::prelude::*;
/// fn check(exit_code: i32) -> Result<()> {
///     if exit_code != 0 {
///         fail!("the job ended with {exit_code}");
///     }
///     Ok(())
/// }
/// # assert_eq!(check(1).unwrap_err().to_string(), "the job ended with 1");
/// ```
#[macro_export]
macro_rules! fail {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::fail(::core::format_args!($($message)+)))
    };
}

/// As [`fail!`](crate::fail), but with an unexpected error: for what cannot happen if all is well.
///
/// ```
/// # use bk_plugin_kit::prelude::*;
/// fn first(ids: &[u32]) -> Result<u32> {
///     let [first, ..] = ids else { unexpected!("the answer names no task") };
///     Ok(*first)
/// }
/// # assert!(first(&[]).is_err_and(|error| !error.is_fail()));
/// ```
#[macro_export]
macro_rules! unexpected {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::unexpected(::core::format_args!($($message)+)))
    };
}

/// Turns an error of any kind that can be displayed into the kit's.
///
/// ```
/// # use bk_plugin_kit::prelude::*;
/// fn port(text: &str) -> Result<u16> {
///     text.parse().or_fail() // where `text.parse()?` would be unexpected
/// }
///
/// fn read() -> Result<String> {
///     let answer: Result<String, Box<dyn std::error::Error>> = Ok("x".to_owned());
///     answer.or_unexpected() // `?` does not take a boxed error, an `anyhow::Error` or a text
/// }
/// # assert!(port("x").is_err_and(|error| error.is_fail()) && read().is_ok());
/// ```
pub trait OrFail<T> {
    /// The error in the author's words: its text is for the plugin's user.
    fn or_fail(self) -> Result<T>;

    /// An unexpected error with the same text.
    fn or_unexpected(self) -> Result<T>;
}

impl<T, E: Display> OrFail<T> for std::result::Result<T, E> {
    #[track_caller]
    fn or_fail(self) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            // The alternate form of an `anyhow::Error` has its causes.
            Err(error) => Err(Error::fail(format_args!("{error:#}"))),
        }
    }

    #[track_caller]
    fn or_unexpected(self) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Error::unexpected(format_args!("{error:#}"))),
        }
    }
}

/// Stands in the extensions of an answer that is an unexpected error of one of the author's routes; holds its text.
#[derive(Debug, Clone)]
pub struct UnexpectedError(pub String);

/// The answer of an author's handler that returns the kit's `Result`: 400 in the author's own words, or 500 for an
/// unexpected error (in the reference's words, typo included).
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let text = self.to_string();
        if self.is_fail() {
            return envelope(StatusCode::BAD_REQUEST, &text);
        }
        let (pathname, lineno) = (self.at.file(), self.at.line());
        tracing::error!(error = text, pathname, lineno, "a route of the author's failed");
        let message = format!("unknow error, please contact plugin developers: {text}");
        let mut response = envelope(StatusCode::INTERNAL_SERVER_ERROR, &message);
        response.extensions_mut().insert(UnexpectedError(text));
        response
    }
}

fn envelope(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"result": false, "data": null, "message": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed() -> std::result::Result<(), Box<dyn std::error::Error>> {
        Err("boxed".into())
    }

    type Way = fn() -> Result<()>;

    /// Every way to fail, and the line it stands on.
    #[test]
    fn an_error_knows_its_line() {
        let ways: [(Way, u32, bool, &str); 6] = [
            (|| fail!("{} words", "own"), line!(), true, "own words"),
            (|| unexpected!("odd"), line!(), false, "odd"),
            (|| Ok("x".parse::<u8>().map(drop)?), line!(), false, "invalid digit found in string"),
            (|| boxed().or_fail(), line!(), true, "boxed"),
            (|| boxed().or_unexpected(), line!(), false, "boxed"),
            (|| Err("text").or_fail(), line!(), true, "text"),
        ];
        for (way, line, is_fail, text) in ways {
            let error = way().unwrap_err();
            assert_eq!((error.location().line(), error.is_fail()), (line, is_fail), "{text}");
            assert!(error.location().file().ends_with("error.rs"));
            assert_eq!(error.to_string(), text);
        }
    }
}
