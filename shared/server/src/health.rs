//! `/healthz`: the process lives. `/readyz`: it can serve, and has not been told to stop.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use bk_plugin_engine::Engine;
use tokio::sync::watch;

pub(crate) fn routes(engine: Arc<Engine>, stopping: watch::Receiver<bool>) -> Router {
    let ready = move || {
        let (engine, stopping) = (Arc::clone(&engine), *stopping.borrow());
        async move {
            if stopping {
                return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
            }
            match engine.ping().await {
                Ok(()) => (StatusCode::OK, "ready\n"),
                Err(error) => {
                    // Anybody may ask, and the database's words may name its users.
                    tracing::warn!(%error, "not ready: the store does not answer");
                    (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
                }
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready))
}
