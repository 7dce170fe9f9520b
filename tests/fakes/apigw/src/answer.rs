//! Answers in the gateway's formats.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn data(data: &Value) -> Self {
        Self { status: 200, body: json!({"data": data}) }
    }

    pub(crate) fn created() -> Self {
        Self { status: 201, body: json!({"data": null}) }
    }

    /// An error in the format of the API's v2.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self { status, body: json!({"error": {"code": code, "message": message, "data": null}}) }
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::error(400, "INVALID_ARGUMENT", message)
    }

    pub(crate) fn not_related() -> Self {
        Self::error(403, "IAM_NO_PERMISSION", "应用无操作网关权限")
    }

    /// An error in the format of the gateway in front of the API.
    pub(crate) fn gateway_error(status: u16, code: u32, message: &str) -> Self {
        Self { status, body: json!({"code": code, "data": null, "message": message, "result": false}) }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let status = StatusCode::from_u16(answer.status).unwrap();
        (status, axum::Json(answer.body)).into_response()
    }
}
