//! `GET schedule/<trace_id>`: where an invocation stands.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bk_plugin_core::JsonObject;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{Record, State as InvocationState};
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Service;
use super::envelope::{Failure, WithTraceId, json};
use super::gateway::{Admitted, AnyCaller};
use super::segment::Segment;

#[derive(Serialize, ToSchema)]
pub(super) struct ScheduleData {
    /// The invocation's id.
    #[schema(value_type = String)]
    trace_id: TraceId,
    plugin_version: String,
    /// 2 POLL, 3 CALLBACK, 4 SUCCESS, 5 FAIL.
    #[schema(value_type = u8, minimum = 2, maximum = 5)]
    state: InvocationState,
    /// What the plugin has put out.
    #[schema(value_type = Object)]
    outputs: JsonObject,
    /// Why the invocation failed; empty if it did not.
    err: String,
    /// `YYYY-MM-DD HH:MM:SS`
    created_at: String,
    /// `YYYY-MM-DD HH:MM:SS`, empty until the end.
    finish_at: String,
}

impl ScheduleData {
    fn new(record: Record, zone: &TimeZone) -> Self {
        // Clients index into outputs without checking: so never null, which a first step that failed leaves.
        let outputs = match record.outputs {
            Value::Object(outputs) => outputs,
            _ => JsonObject::new(),
        };
        Self {
            trace_id: record.trace_id,
            plugin_version: record.plugin_version,
            state: record.state,
            outputs,
            err: record.err,
            created_at: local_time(record.created_at, zone),
            finish_at: record.finish_at.map(|at| local_time(at, zone)).unwrap_or_default(),
        }
    }
}

fn local_time(at: Timestamp, zone: &TimeZone) -> String {
    // A clock never gives a time that the calendar cannot show.
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Where an invocation stands. One that ended in its first step is not known here.
#[utoipa::path(
    get,
    path = "/bk_plugin/schedule/{trace_id}",
    tag = "plugin",
    params(("trace_id" = String, Path, description = "The trace_id that invoke answered")),
    responses(
        (status = 200, body = WithTraceId<ScheduleData>, description = "Of an unknown id result is false and data null"),
        (status = 403, body = Failure, description = "The JWT in the request is not valid, or has expired"),
        (status = 503, body = Failure, description = "The store has been down for longer than it is asked again"),
    )
)]
pub(super) async fn schedule(
    _: Admitted<AnyCaller>,
    State(service): State<Arc<Service>>,
    Segment(asked): Segment,
    request: Request,
) -> Result<Response, Failure> {
    let request_id = TraceId::random();
    let found = match TraceId::parse(&asked) {
        Ok(trace_id) => service.engine_for(&request).schedule(&trace_id).await,
        Err(_) => Ok(None),
    };
    match found {
        Ok(Some(record)) => {
            let data = ScheduleData::new(*record, &service.settings().time_zone);
            let answer = WithTraceId { result: true, data, message: "", trace_id: request_id };
            Ok(json(StatusCode::OK, &answer))
        }
        // Status 200, as in the reference: three answers in a row with another status end the caller's task.
        Ok(None) => {
            let message = format!("can not find schedule for trace_id {asked}");
            Err(Failure::new(StatusCode::OK, message).with_trace_id(request_id))
        }
        Err(error) => {
            tracing::error!(trace_id = asked, %error, "schedule not read");
            let message = "the store is unavailable; try again later";
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message).with_trace_id(request_id))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::time_zone;

    #[test]
    fn times_are_local() {
        let at = Timestamp::from_millis(1_795_378_021_999);
        assert_eq!(local_time(at, &time_zone(None).unwrap()), "2026-11-23 04:07:01");
        assert_eq!(local_time(at, &TimeZone::UTC), "2026-11-22 20:07:01");
    }
}
