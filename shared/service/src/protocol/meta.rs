//! `GET meta`: what the plugin is and which versions it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Envelope, Failure, json_bytes};
use super::gateway::{Admitted, AnyCaller};
use super::{Description, ProtocolSettings};
use crate::project::{AllowedScope, Registry};

#[derive(Serialize, ToSchema)]
pub(super) struct MetaData<'a> {
    /// The app's id.
    code: &'a str,
    /// All versions, newest first.
    versions: &'a [String],
    /// `rust`.
    language: &'static str,
    description: &'a str,
    framework_version: &'static str,
    runtime_version: &'a str,
    /// Apps that may only call from these scopes.
    allow_scope: &'a BTreeMap<String, AllowedScope>,
}

pub(super) fn answer(registry: &Registry, settings: &ProtocolSettings) -> Bytes {
    let data = MetaData {
        code: &settings.app_code,
        versions: registry.versions(),
        language: "rust",
        description: registry.description(),
        framework_version: env!("CARGO_PKG_VERSION"),
        runtime_version: &settings.runtime_version,
        allow_scope: registry.allow_scope(),
    };
    serde_json::to_vec(&Envelope::new(data)).expect("texts and lists are JSON").into()
}

/// What the plugin is.
#[utoipa::path(
    get,
    path = "/bk_plugin/meta",
    tag = "plugin",
    responses((status = 200, body = Envelope<MetaData<'static>>, description = "As asked"), (status = 403, body = Failure, description = "The JWT that was sent is none, or has expired"))
)]
pub(super) async fn meta(_: Admitted<AnyCaller>, State(description): State<Arc<Description>>) -> Response {
    json_bytes(StatusCode::OK, description.meta.clone())
}
