//! `/healthz`: the process is alive and runs all code. `/readyz`: it can serve requests, and has not received a signal to stop.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use bk_plugin_engine::Engine;
use bk_plugin_engine::author_threads::AuthorThreads;
use tokio::sync::watch;

pub(crate) fn routes(
    engine: Arc<Engine>,
    threads: Arc<AuthorThreads>,
    stopping: watch::Receiver<bool>,
) -> Router {
    let healthy = move || {
        let refused = threads.refused();
        async move {
            let Some(refused) = refused else { return (StatusCode::OK, "alive\n".to_owned()) };
            let lines = refused.iter().map(|refused| format!("{refused}\n"));
            (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
        }
    };
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
    Router::new().route("/healthz", get(healthy)).route("/readyz", get(ready))
}
