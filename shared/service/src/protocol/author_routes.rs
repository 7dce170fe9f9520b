//! The author's own routes, and what their handlers are given and may answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_extractor_with_state, from_fn_with_state};
use axum::response::Response;
use bk_plugin_engine::Engine;

use super::Service;
use super::gateway::{Admitted, Audience, VerifiedApp, VerifiedUser};

/// Prefix of the routes that `plugin_api_dispatch` reaches.
pub(super) const PLUGIN_API: &str = "/bk_plugin/plugin_api";
const OPENAPI: &str = "/bk_plugin/openapi";
const PRIVATE: &str = "/bk_plugin/private";

/// The author's routes for callers that come through the gateway.
pub(super) fn routes(service: &Arc<Service>) -> Router {
    let author = service.engine.registry().routes();
    let mount = |path, routes| mount(path, routes, &service.engine);
    let of_apps = mount(OPENAPI, &author.openapi).merge(mount(PRIVATE, &author.private));
    only_for::<VerifiedUser>(mount(PLUGIN_API, &author.plugin_api), service)
        .merge(only_for::<VerifiedApp>(of_apps, service))
}

fn only_for<A: Audience + 'static>(routes: Router, service: &Arc<Service>) -> Router {
    routes.layer(from_extractor_with_state::<Admitted<A>, _>(Arc::clone(service)))
}

pub(super) fn mount(path: &str, routes: &Router, engine: &Arc<Engine>) -> Router {
    Router::new().nest(path, routes.clone()).layer(from_fn_with_state(Arc::clone(engine), enter))
}

/// A handler is author code: it does not run beside a step that runs alone.
async fn enter(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let under_way = engine.enter().await;
    let response = next.run(request).await;
    drop(under_way);
    response
}
