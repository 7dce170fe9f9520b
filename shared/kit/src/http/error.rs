//! Why a call did not succeed, in words that hold nothing secret.

use std::fmt;

use reqwest::{Method, StatusCode, Url};

use crate::from_json::without_values;

/// A call that did not succeed: which, and why. Neither its text nor its `Debug` holds path, query, user, header or body.
///
/// With `?` in `execute` it becomes an unexpected error; `.or_fail()?` ends the invocation in these words.
///
/// ```
/// # use bk_plugin_kit::http::{Client, ErrorKind};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let request = Client::new().get("http://127.0.0.1:1/jobs?token=hunter2").header("X-Name", "\n");
/// let error = request.send().await.unwrap_err();
/// assert_eq!(error.to_string(), "GET http://127.0.0.1:1: cannot be sent: failed to parse header value");
/// assert!(matches!(error.kind(), ErrorKind::Request(_)) && !error.may_pass());
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {kind}")]
pub struct Error {
    call: Call,
    kind: ErrorKind,
}

/// Why a call did not succeed. Its text follows the call's in that of [`Error`], and can stand after any other name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is not valid, or the client cannot be made: nothing was sent.
    #[error("cannot be sent: {0}")]
    Request(String),
    /// There was no connection, or it ended before an answer came.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The time-out was over before the answer's last byte. The other system may have done what it was asked.
    #[error("no answer in time")]
    Timeout,
    /// [`Response::error_for_status`](super::Response::error_for_status) found a status other than 2xx.
    #[error("answered with HTTP {0}")]
    Status(StatusCode),
    /// The connection ended within the answer's body.
    #[error("the answer broke off: {0}")]
    Body(String),
    /// The answer's body has more bytes than this, the client's limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The answer's body is not JSON, or not the JSON that the type expects.
    #[error("the answer is not the JSON that is expected: {0}")]
    Decode(String),
}

impl Error {
    /// Why it did not succeed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The answer's status, if that is why.
    pub fn status(&self) -> Option<StatusCode> {
        if let ErrorKind::Status(status) = self.kind { Some(status) } else { None }
    }

    /// Whether the answer did not come in time.
    pub fn is_timeout(&self) -> bool {
        self.kind == ErrorKind::Timeout
    }

    /// Whether the same call may succeed a little later: after a time-out, a connection that failed, 429 or 5xx.
    ///
    /// The other system may have done what it was asked all the same. Repeat only what may be done twice.
    pub fn may_pass(&self) -> bool {
        match self.kind {
            ErrorKind::Timeout | ErrorKind::Unreachable(_) | ErrorKind::Body(_) => true,
            ErrorKind::Status(status) => status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Request(_) | ErrorKind::TooLarge(_) | ErrorKind::Decode(_) => false,
        }
    }
}

impl ErrorKind {
    /// Of this call.
    pub(super) fn of(self, call: Call) -> Error {
        Error { call, kind: self }
    }

    /// Why the request could not be sent, or was not answered.
    pub(super) fn sending(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_builder() {
            Self::Request(root_cause(error))
        } else {
            Self::Unreachable(root_cause(error))
        }
    }

    /// Why the body could not be read.
    pub(super) fn reading(error: &reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Body(root_cause(error)) }
    }

    /// Why the body is not what was expected.
    pub(super) fn decoding(error: &serde_json::Error) -> Self {
        Self::Decode(without_body(error))
    }
}

/// What was asked of whom: a method, and the scheme, host and port of an address. `GET https://jobs.example:8443`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    origin: Option<String>,
}

impl Call {
    pub(super) fn new(method: &Method, url: &str) -> Self {
        let origin = Url::parse(url).ok().map(|url| url.origin().ascii_serialization());
        // An address without a host (`mailto:`) has the origin "null".
        Self { method: method.clone(), origin: origin.filter(|origin| origin != "null") }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.origin.as_deref().unwrap_or("(not a valid address)"))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The innermost error's text: those around it name the whole address.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}

/// What a JSON error says, unless the text is one of the type's own: that may hold what it did not like.
fn without_body(error: &serde_json::Error) -> String {
    let text = without_values(error);
    let known = ["invalid type", "invalid value", "invalid length", "missing field", "unknown variant"];
    if !error.is_data() || known.iter().any(|beginning| text.starts_with(beginning)) {
        return text;
    }
    format!("a value does not fit at line {} column {}", error.line(), error.column())
}
