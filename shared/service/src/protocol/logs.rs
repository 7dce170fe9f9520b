//! `GET logs/<trace_id>`: what the steps of an invocation logged. In development only.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Envelope, Failure, json};
use super::gateway::{Admitted, AnyCaller, Describes};
use super::segment::Segment;
use super::{Description, InvocationLog};

#[derive(Clone)]
pub(super) struct LogState {
    pub(super) description: Arc<Description>,
    pub(super) log: InvocationLog,
}

impl Describes for LogState {
    fn description(&self) -> &Description {
        &self.description
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct LogData {
    /// Lines `LEVEL message`; empty if the invocation is not known.
    log: String,
}

/// What the steps of an invocation logged. In development only.
#[utoipa::path(
    get,
    path = "/bk_plugin/logs/{trace_id}",
    tag = "development",
    params(("trace_id" = String, Path, description = "The trace_id that invoke answered")),
    responses((status = 200, body = Envelope<LogData>, description = "As asked"), (status = 403, body = Failure, description = "The JWT in the request is not valid, or has expired"))
)]
pub(super) async fn logs(
    _: Admitted<AnyCaller>,
    State(state): State<LogState>,
    Segment(trace_id): Segment,
) -> Response {
    json(StatusCode::OK, &Envelope::new(LogData { log: state.log.text(&trace_id) }))
}
