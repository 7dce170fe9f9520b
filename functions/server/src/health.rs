//! `/healthz`: the process lives. `/readyz`: it can serve.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use bk_plugin_kit::engine::Engine;

pub(crate) fn routes(engine: Arc<Engine>) -> Router {
    let ready = move || {
        let engine = Arc::clone(&engine);
        async move {
            match engine.ping().await {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready))
}
