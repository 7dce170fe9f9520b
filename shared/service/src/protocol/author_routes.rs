//! The author's own routes, and what their handlers are given and may answer.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_extractor_with_state;

use super::Service;
use super::gateway::{Admitted, Audience, VerifiedApp, VerifiedUser};

/// Prefix of the routes that `plugin_api_dispatch` reaches.
pub(super) const PLUGIN_API: &str = "/bk_plugin/plugin_api";
const OPENAPI: &str = "/bk_plugin/openapi";
const PRIVATE: &str = "/bk_plugin/private";

/// The author's routes for callers that come through the gateway.
pub(super) fn routes(service: &Arc<Service>) -> Router {
    let author = service.engine.registry().routes();
    let of_apps = mount(OPENAPI, &author.openapi).merge(mount(PRIVATE, &author.private));
    only_for::<VerifiedUser>(mount(PLUGIN_API, &author.plugin_api), service)
        .merge(only_for::<VerifiedApp>(of_apps, service))
}

fn only_for<A: Audience + 'static>(routes: Router, service: &Arc<Service>) -> Router {
    routes.layer(from_extractor_with_state::<Admitted<A>, _>(Arc::clone(service)))
}

pub(super) fn mount(path: &str, routes: &Router) -> Router {
    Router::new().nest(path, routes.clone())
}
