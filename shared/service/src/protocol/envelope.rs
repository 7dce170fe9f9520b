//! The shape of every answer.

use std::borrow::Cow;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bk_plugin_core::ids::TraceId;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

/// A successful answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Envelope<T> {
    /// True.
    pub(super) result: bool,
    pub(super) data: T,
    /// Empty.
    pub(super) message: &'static str,
}

impl<T> Envelope<T> {
    pub(super) fn new(data: T) -> Self {
        Self { result: true, data, message: "" }
    }
}

/// An answer with the request's own id.
#[derive(Serialize, ToSchema)]
pub(super) struct WithTraceId<T> {
    /// True.
    pub(super) result: bool,
    pub(super) data: T,
    /// `success`, or empty.
    pub(super) message: &'static str,
    /// The id of the request, 32 hexadecimal digits.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    pub(super) trace_id: TraceId,
}

/// An answer that says what is wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Failure {
    #[serde(skip)]
    status: StatusCode,
    /// False.
    result: bool,
    /// Null.
    #[schema(value_type = Option<Object>, required = true)]
    data: (),
    /// What is wrong, for a person to read.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// The id of the request; only where the route answers with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, required = false)]
    trace_id: Option<TraceId>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, result: false, data: (), message: message.into(), trace_id: None }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A body that is too large. The message names the limit, so that the caller can keep to it.
    pub(super) fn body_too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(super) fn files_too_large(limit: usize) -> Self {
        let message = format!("the files in the request are larger than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// A version that does not exist. (The reference answers 404 without a body.)
    pub(super) fn unknown_version(version: &str, known: &[String]) -> Self {
        let message = format!("there is no version {version}; there are {}", known.join(", "));
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// One of the author's routes failed unexpectedly. (The typo is the reference's.)
    pub(super) fn unexpected(text: &str) -> Self {
        let message = format!("unknow error, please contact plugin developers: {text}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn with_trace_id(self, trace_id: TraceId) -> Self {
        Self { trace_id: Some(trace_id), ..self }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        json(self.status, &self)
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => json_bytes(status, body.into()),
        // No answer has keys that are not text, which is the only thing that JSON cannot hold.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An answer that is JSON already.
pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}
