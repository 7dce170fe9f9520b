//! `GET detail/<version>`: the models and the form of one version.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bk_plugin_core::JsonObject;
use bk_plugin_kit::runtime::Registry;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::Description;
use super::envelope::{Envelope, Failure, json_bytes};
use super::gateway::{Admitted, AnyCaller};
use super::segment::Segment;

/// What `detail` answers about one version.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detail<'a> {
    desc: &'a str,
    version: &'a str,
    enable_plugin_callback: bool,
    #[schema(value_type = Object)]
    inputs: &'a JsonObject,
    #[schema(value_type = Object)]
    outputs: &'a JsonObject,
    #[schema(value_type = Object)]
    context_inputs: &'a JsonObject,
    forms: Forms<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Forms<'a> {
    /// Text of form.js; null if the version has none.
    #[schema(required = true)]
    renderform: Option<&'a str>,
}

impl<'a> Detail<'a> {
    /// The answer for `version`; `None` if there is no such version.
    pub fn of(registry: &'a Registry, version: &str) -> Option<Self> {
        let found = registry.version(version)?;
        let (meta, models) = (found.meta(), found.models());
        Some(Self {
            desc: meta.desc,
            version: meta.version,
            enable_plugin_callback: meta.enable_plugin_callback,
            inputs: models.inputs.schema(),
            outputs: models.outputs.schema(),
            context_inputs: models.context_inputs.schema(),
            forms: Forms { renderform: registry.form(version) },
        })
    }
}

pub(super) fn answers(registry: &Registry) -> HashMap<String, Bytes> {
    let answer = |version: &String| {
        let detail = Detail::of(registry, version)?;
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
        (status = 200, body = Envelope<Detail<'static>>, description = "As asked"),
        (status = 403, body = Failure, description = "The JWT in the request is not valid, or has expired"),
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
