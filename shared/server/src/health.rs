//! `/healthz`: the process is alive. `/readyz`: it can serve requests, and has not received a signal to stop.

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
                    // This route is open to everyone, and the database's message may name its users.
                    tracing::warn!(%error, "not ready: the store does not answer");
                    (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
                }
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready))
}
