//! Why a call did not succeed, in words that hold nothing secret.

use std::fmt;

use reqwest::{Method, StatusCode, Url};

use crate::error::without_values;

/// Why a call did not succeed. Neither its text nor its `Debug` holds path, query, user, header or body.
///
/// With `?` in `execute` it becomes an unexpected error; `.or_else(fail)?` ends the invocation in these words.
///
/// ```
/// # use bk_plugin_kit::http::{Client, Error};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let error = Client::new().get("jobs?token=hunter2").send().await.unwrap_err();
/// assert!(matches!(error, Error::Request { .. }));
/// assert_eq!(error.to_string(), "GET (not a valid address): cannot be sent: relative URL without a base");
/// assert!(!error.may_pass() && !error.is_timeout() && error.status().is_none());
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request could not be made or the client could not be: it was not sent.
    #[error("{call}: cannot be sent: {reason}")]
    Request {
        /// What was asked of whom.
        call: Call,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no connection, or it ended before an answer came.
    #[error("{call}: cannot be reached: {reason}")]
    Unreachable {
        /// What was asked of whom.
        call: Call,
        /// The innermost error.
        reason: String,
    },
    /// The time-out was over before the answer's last byte. The other system may have done what it was asked.
    #[error("{call}: no answer in time")]
    Timeout {
        /// What was asked of whom.
        call: Call,
    },
    /// [`Response::error_for_status`](super::Response::error_for_status) found a status other than 2xx.
    #[error("{call}: answered with HTTP {status}")]
    Status {
        /// What was asked of whom.
        call: Call,
        /// The status.
        status: StatusCode,
    },
    /// The connection ended within the answer's body.
    #[error("{call}: the answer broke off: {reason}")]
    Body {
        /// What was asked of whom.
        call: Call,
        /// The innermost error.
        reason: String,
    },
    /// The answer's body is larger than the client's limit.
    #[error("{call}: the answer has more than {limit} bytes")]
    TooLarge {
        /// What was asked of whom.
        call: Call,
        /// The limit.
        limit: usize,
    },
    /// The answer's body is not JSON, or its JSON does not fit the type.
    #[error("{call}: the answer is not the JSON that is expected: {reason}")]
    Decode {
        /// What was asked of whom.
        call: Call,
        /// Where it does not fit, without the value.
        reason: String,
    },
}

impl Error {
    /// Why the request could not be sent, or was not answered.
    pub(super) fn sending(call: Call, error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout { call }
        } else if error.is_builder() {
            Self::Request { call, reason: root_cause(error) }
        } else {
            Self::Unreachable { call, reason: root_cause(error) }
        }
    }

    /// Why the body could not be read.
    pub(super) fn reading(call: Call, error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout { call }
        } else {
            Self::Body { call, reason: root_cause(error) }
        }
    }

    /// Why the body is not what was expected.
    pub(super) fn decoding(call: Call, error: &serde_json::Error) -> Self {
        Self::Decode { call, reason: without_body(error) }
    }

    /// The status, if that is what is wrong.
    pub fn status(&self) -> Option<StatusCode> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    /// Whether the answer did not come in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the same call may succeed a little later: after a time-out, a connection that failed, 429 or 5xx.
    ///
    /// The other system may have done what it was asked all the same. Repeat only what may be done twice.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::Body { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Request { .. } | Self::TooLarge { .. } | Self::Decode { .. } => false,
        }
    }
}

/// What was asked of whom: a method, and the scheme, host and port of an address. `GET https://jobs.example:8443`.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
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
