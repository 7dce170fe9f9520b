//! `GET meta`: what the plugin is and which versions it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bk_plugin_kit::runtime::{AllowedScope, Registry};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::{Envelope, Failure, json_bytes};
use super::gateway::{Admitted, AnyCaller};
use super::{Description, ProtocolSettings};

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
    allow_scope: BTreeMap<&'a str, Scope<'a>>,
}

/// Which scopes of an app may call.
#[derive(Serialize, ToSchema)]
#[schema(as = AllowedScope)]
struct Scope<'a> {
    /// Kind of scope, for example `project`.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The scopes that may call.
    value: &'a [String],
}

impl<'a> From<&'a AllowedScope> for Scope<'a> {
    fn from(scope: &'a AllowedScope) -> Self {
        Self { kind: &scope.kind, value: &scope.value }
    }
}

pub(super) fn answer(registry: &Registry, settings: &ProtocolSettings) -> Bytes {
    let data = MetaData {
        code: &settings.app_code,
        versions: registry.versions(),
        language: "rust",
        description: registry.description(),
        framework_version: env!("CARGO_PKG_VERSION"),
        runtime_version: &settings.runtime_version,
        allow_scope: registry.allow_scope().iter().map(|(app, scope)| (&**app, scope.into())).collect(),
    };
    serde_json::to_vec(&Envelope::new(data)).expect("texts and lists are JSON").into()
}

/// What the plugin is.
#[utoipa::path(
    get,
    path = "/bk_plugin/meta",
    tag = "plugin",
    responses((status = 200, body = Envelope<MetaData<'static>>, description = "As asked"), (status = 403, body = Failure, description = "The JWT in the request is not valid, or has expired"))
)]
pub(super) async fn meta(_: Admitted<AnyCaller>, State(description): State<Arc<Description>>) -> Response {
    json_bytes(StatusCode::OK, description.meta.clone())
}
