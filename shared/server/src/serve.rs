//! Connects store, engine, worker and routers, and stops them in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bk_plugin_apigw::api::Api;
use bk_plugin_apigw::client::Client;
use bk_plugin_core::clock::Clock;
use bk_plugin_engine::Engine;
use bk_plugin_engine::author_threads::AuthorThreads;
use bk_plugin_engine::metered_store::MeteredStore;
use bk_plugin_engine::worker::Worker;
use bk_plugin_kit::runtime::Registry;
use bk_plugin_service::protocol::{self, Admission, Endpoint, GatewayJwt, Service};
use bk_plugin_service::settings::EngineHost;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::Layer as _;
use tower::util::option_layer;

use crate::log::Log;
use crate::metrics::Metrics;
use crate::settings::{Role, ServerSettings};
use crate::start_error::StartError;
use crate::traces::TracedRequests;
use crate::{app_secret, connections, health, housekeeping, traces};

/// Serves until a signal to stop.
pub(crate) async fn serve(
    registry: Registry,
    threads: Arc<AuthorThreads>,
    settings: ServerSettings,
    log: &Log,
) -> Result<(), StartError> {
    let shared = &settings.shared;
    let mut stopping = stop_signal();
    let store = tokio::select! {
        store = settings.store.open(settings.store_options()) => store?,
        _ = stopping.wait_for(|stop| *stop) => return Ok(()),
    };
    let listener = listen(&settings).await?;
    let metrics = Metrics::install()?;
    let metered = Arc::new(MeteredStore::new(store.clone(), store.clone()));
    let port = listener.local_addr().map_or(settings.port, |address| address.port());
    let engine = engine(registry, &settings, &metered, store.clock(), port)?;
    let engine = Arc::new(engine.with_author_threads(Arc::clone(&threads)));
    announce(&engine, &settings, &listener);

    let working = settings.role.runs_later_steps().then(|| {
        let worker = Worker::new(Arc::clone(&engine), metered, settings.worker);
        tokio::spawn(worker.run(stopped(stopping.clone())))
    });
    let housekeeping = tokio::spawn(housekeeping::keep(Arc::clone(&store)));
    let service = service(&engine, &settings)?;
    if settings.role.answers_callers() {
        service.fetch_public_key();
    }
    let counted = tokio::spawn(metrics.clone().keep());
    let operators =
        health::routes(Arc::clone(&engine), threads, stopping.clone()).merge(metrics.routes(store.clone()));
    let traced = option_layer(settings.traces.is_some().then_some(TracedRequests));
    let routes = traced.layer(routes(&service, operators, settings.role, log));
    // Callers still arrive for a moment: the load balancer learns of the stop a little later.
    let delay = settings.shutdown_delay;
    let serving =
        connections::serve(listener, routes, settings.connections, stopped_for(stopping.clone(), delay));
    tokio::select! {
        () = serving => {}
        // A client that never sends the rest of its request's body must not keep the process alive.
        () = stopped_for(stopping, delay + shared.limits.lease()) => tracing::warn!("connections that do not end are cut"),
    }
    // Requests have been answered. After the running steps have ended, nothing uses the store.
    service.finish_steps().await;
    if let Some(working) = working {
        let _ = working.await;
    }
    housekeeping.abort();
    counted.abort();
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(settings: &ServerSettings) -> Result<TcpListener, StartError> {
    let address = format!("{}:{}", settings.host, settings.port);
    TcpListener::bind(&address).await.map_err(|source| StartError::Listen { address, source })
}

pub(crate) fn engine(
    registry: Registry,
    settings: &ServerSettings,
    store: &Arc<MeteredStore>,
    clock: Arc<dyn Clock>,
    port: u16,
) -> Result<Engine, StartError> {
    let shared = &settings.shared;
    let finish_callbacks = shared.finish_callback_client(shared.environment.is_development());
    finish_callbacks.prepare()?;
    // The callback base can be missing in development only.
    let own_base = || format!("http://127.0.0.1:{port}/bk_plugin");
    let engine = shared.engine(EngineHost {
        registry: Arc::new(registry),
        store: Arc::clone(store),
        clock,
        app_secret: app_secret::of(settings)?,
        callback_base: shared.callback_base.clone().unwrap_or_else(own_base),
        finish_callbacks,
    })?;
    Ok(if settings.traces.is_some() { engine.with_span_linker(traces::place) } else { engine })
}

fn service(engine: &Arc<Engine>, settings: &ServerSettings) -> Result<Arc<Service>, StartError> {
    let mut protocol = settings.shared.protocol();
    if let Some(connection) = &settings.apigw {
        let api = Arc::new(Api::new(Client::new(connection)?));
        let gateway = GatewayJwt::with_source(&connection.gateway, api);
        protocol.admission = Admission::Gateway(Some(Arc::new(gateway)));
    }
    Ok(Service::new(Arc::clone(engine), protocol))
}

/// The routes for callers, merged with those for operators.
fn routes(service: &Arc<Service>, operators: Router, role: Role, log: &Log) -> Endpoint {
    let mut groups = operators;
    if role.answers_callers() {
        groups = groups
            .merge(protocol::meta_routes(service.description()))
            .merge(protocol::invoke_routes(service))
            .merge(protocol::callback_routes(service))
            .merge(protocol::schedule_routes(service))
            .merge(protocol::document_routes(service.description()));
        if let Some(log) = &log.invocations {
            groups = groups.merge(protocol::log_routes(service, log.clone()));
        }
    }
    protocol::endpoint(service.description(), groups)
}

fn announce(engine: &Engine, settings: &ServerSettings, listener: &TcpListener) {
    for warning in engine.registry().warnings(&settings.shared.app_id) {
        tracing::warn!("{warning}");
    }
    let address = listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    let versions = engine.registry().versions().join(", ");
    let (store, environment) = (&settings.store, settings.shared.environment);
    tracing::info!(%store, %environment, versions, "serving http://{address}/bk_plugin/");
}

/// Becomes true on SIGTERM or Ctrl-C. A second signal ends the process at once: nothing is lost, because
/// interrupted steps are run again.
fn stop_signal() -> watch::Receiver<bool> {
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        told_to_stop().await;
        tracing::info!("stopping: no new work is taken, what runs comes to its end");
        let _ = stop.send(true);
        told_to_stop().await;
        std::process::exit(1);
    });
    stopping
}

async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = interrupt.await;
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, and the runtime with it.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Returns `patience` after [`stopped`].
async fn stopped_for(stopping: watch::Receiver<bool>, patience: Duration) {
    stopped(stopping).await;
    tokio::time::sleep(patience).await;
}
