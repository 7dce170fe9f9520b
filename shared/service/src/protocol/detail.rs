//! `GET detail/<version>`: the models and the form of one version.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;

use super::Description;
use super::envelope::{Envelope, Failure, json_bytes};
use super::gateway::{Admitted, AnyCaller};
use super::segment::Segment;
use crate::project::{Detail, Registry};

pub(super) fn answers(registry: &Registry) -> HashMap<String, Bytes> {
    let answer = |version: &String| {
        let detail = registry.detail(version)?;
        let body = serde_json::to_vec(&Envelope::new(detail)).expect("a schema is JSON");
        Some((version.clone(), body.into()))
    };
    registry.versions().iter().filter_map(answer).collect()
}

/// The models and the form of one version.
#[utoipa::path(
    get,
    path = "/bk_plugin/detail/{version}",
    tag = "plugin",
    params(("version" = String, Path, description = "A version that meta names")),
    responses(
        (status = 200, body = Envelope<Detail>, description = "As asked"),
        (status = 403, body = Failure, description = "The JWT that was sent is none, or has expired"),
        (status = 404, body = Failure, description = "There is no such version"),
    )
)]
pub(super) async fn detail(
    _: Admitted<AnyCaller>,
    State(description): State<Arc<Description>>,
    Segment(version): Segment,
) -> Result<Response, Failure> {
    match description.details.get(&version) {
        Some(body) => Ok(json_bytes(StatusCode::OK, body.clone())),
        None => Err(Failure::unknown_version(&version, description.registry.versions())),
    }
}
