//! `POST callback/<token>`: a third party wakes an invocation.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bk_plugin_core::python_json::Parser;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_engine::CallbackError;
use serde::Serialize;
use utoipa::ToSchema;

use super::Service;
use super::body::parse_json;
use super::envelope::{Failure, json};
use super::gateway::{Admitted, TokenHolder};
use super::segment::Segment;

/// The answer to a callback, which has no data.
#[derive(Serialize, ToSchema)]
pub(super) struct CallbackAnswer {
    result: bool,
    /// `callback success`, or why it is not accepted.
    message: String,
}

struct Rejected {
    status: StatusCode,
    message: String,
}

impl Rejected {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self::new(failure.status(), failure.message())
    }
}

impl From<CallbackError> for Rejected {
    fn from(error: CallbackError) -> Self {
        match error {
            // The reference repeats the token here; but the token is a credential.
            CallbackError::InvalidToken => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid token: it is not one of this plugin's callback tokens, or it is too old",
            ),
            CallbackError::NotWaiting(_) => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
            CallbackError::Store(full @ StoreError::InboxFull { .. }) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, full.to_string())
            }
            CallbackError::Store(StoreError::TooLarge { size, limit }) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the invocation with this callback is too large: {size} bytes, the limit is {limit}"),
            ),
            CallbackError::Store(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable; call again later")
            }
        }
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        json(self.status, &CallbackAnswer { result: false, message: self.message })
    }
}

/// Wakes an invocation that waits for a callback. Every accepted call is one step of it.
#[utoipa::path(
    post,
    path = "/bk_plugin/callback/{token}",
    tag = "plugin",
    params(("token" = String, Path, description = "The token in a URL that the plugin handed out")),
    request_body(content = serde_json::Value, description = "Any JSON value; the Content-Type does not matter"),
    responses(
        (status = 200, body = CallbackAnswer, description = "Stored: it will be handed to a step"),
        (status = 400, body = CallbackAnswer, description = "A bad token, not JSON, or nothing waits for it"),
        (status = 403, body = Failure, description = "Not through the gateway"),
        (status = 413, body = CallbackAnswer, description = "The body, or the invocation with it, is too large"),
        (status = 503, body = CallbackAnswer, description = "The store is down: call again later"),
    )
)]
pub(super) async fn callback(
    _: Admitted<TokenHolder>,
    State(service): State<Arc<Service>>,
    Segment(token): Segment,
    request: Request,
) -> Response {
    match accept(&service, &token, request).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(rejected) => rejected.into_response(),
    }
}

async fn accept(service: &Service, token: &str, request: Request) -> Result<CallbackAnswer, Rejected> {
    let engine = service.engine_for(&request);
    let body = service.read_body(request).await?;
    if body.is_empty() {
        return Err(Rejected::new(StatusCode::BAD_REQUEST, "the body is empty; it must be a JSON value"));
    }
    engine.callback(token, parse_json(&body, Parser::Loads)?).await?;
    Ok(CallbackAnswer { result: true, message: "callback success".to_owned() })
}
