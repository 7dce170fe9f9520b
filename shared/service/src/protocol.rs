//! The plugin interface on the wire: routers for everything under `/bk_plugin/` and for the documents.
//!
//! The routes come in groups, so that each Lambda function mounts only its own group and the server all of them;
//! [`endpoint()`] wraps the merged groups with everything that holds for every request.
//!
//! Bodies, status codes and states are those of the reference (bk-plugin-framework 2.3); every error comes in the
//! same envelope, `{"result": false, "data": null, "message": "..."}`.

mod author_routes;
mod body;
mod callback;
mod detail;
mod dispatch;
mod documents;
mod endpoint;
mod envelope;
mod gateway;
mod gateway_claims;
mod gateway_jwt;
mod invalid_input;
mod invocation_log;
mod invoke;
mod logs;
mod meta;
mod multipart;
mod public_key;
mod query;
mod refused;
mod rejections;
mod schedule;
mod segment;
mod time_zone;
mod upload_time;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::trace_context::TraceContext;
use bk_plugin_engine::{CallContext, Engine, EngineCall, TimeBudget};
use bk_plugin_kit::runtime::Registry;
use bytes::Bytes;
use jiff::tz::TimeZone;
use tokio_util::task::TaskTracker;

use self::body::MediaType;

pub use detail::Detail;
pub use endpoint::{Endpoint, endpoint};
pub use gateway::Admission;
pub use gateway_jwt::{GatewayJwt, PublicKeyFileError};
pub use invocation_log::InvocationLog;
pub use public_key::{InvalidPublicKey, PublicKeyError, PublicKeySource};
pub use time_zone::{UnknownTimeZone, time_zone};

/// The time at which this process will be killed. A runtime such as AWS Lambda puts it into the request's
/// extensions; work for the request stops before it.
#[derive(Debug, Clone, Copy)]
pub struct KilledAt(pub Timestamp);

/// The settings of the routes.
#[derive(Debug, Clone)]
pub struct ProtocolSettings {
    /// The app's id: `meta` shows it as the plugin's code.
    pub app_code: String,
    /// Version of the framework that serves the routes, as `meta` shows it.
    pub runtime_version: String,
    /// Who may call the routes that are not open to everyone.
    pub admission: Admission,
    /// Whether callbacks, too, must come through the gateway if the gateway is what admits callers: true behind
    /// BlueKing's gateway, as in the reference. Elsewhere the token in the URL is enough.
    pub callbacks_through_gateway: bool,
    /// The largest body of a request, in bytes, without its files.
    pub body_limit: usize,
    /// The largest size of all files in a multipart body together, in bytes.
    pub file_limit: usize,
    /// Time limit of a request; past it the answer is 408. The time that its body takes to arrive does not count, up to
    /// the same limit.
    pub request_timeout: Duration,
    /// The time zone in which times are shown.
    pub time_zone: TimeZone,
}

impl ProtocolSettings {
    /// Largest body that the reference accepts (Django's `DATA_UPLOAD_MAX_MEMORY_SIZE`): 2.5 MiB.
    pub const BODY_LIMIT: usize = 2_621_440;

    /// 32 MiB: bk-sops sends files of up to 25 MiB. (The reference, which writes them to the disk, has no limit.)
    pub const FILE_LIMIT: usize = 32 * 1024 * 1024;

    /// Longer than a step and the writing of its result may take, so that the engine is what ends a step that is
    /// too slow, and says so.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

    /// The settings of production, for times in `time_zone`.
    pub fn new(app_code: impl Into<String>, time_zone: TimeZone) -> Self {
        Self {
            app_code: app_code.into(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            admission: Admission::Gateway(None),
            callbacks_through_gateway: true,
            body_limit: Self::BODY_LIMIT,
            file_limit: Self::FILE_LIMIT,
            request_timeout: Self::REQUEST_TIMEOUT,
            time_zone,
        }
    }

    /// The largest body that a request with these headers may have.
    fn largest_body(&self, headers: &HeaderMap) -> usize {
        let files = if MediaType::of(headers) == MediaType::Multipart { self.file_limit } else { 0 };
        self.body_limit.saturating_add(files)
    }
}

/// Everything `meta`, `detail` and the documents need. It holds no engine, so a function that serves only these
/// links no store.
pub struct Description {
    registry: Arc<Registry>,
    settings: ProtocolSettings,
    clock: Arc<dyn Clock>,
    /// The answer to `meta`, which never changes while the process lives.
    meta: Bytes,
    /// The answers to `detail`, by version.
    details: HashMap<String, Bytes>,
}

impl Description {
    /// The description of the versions in `registry`.
    pub fn new(registry: Arc<Registry>, settings: ProtocolSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            meta: meta::answer(&registry, &settings),
            details: detail::answers(&registry),
            registry,
            settings,
            clock,
        })
    }
}

/// What the routes that run steps share.
pub struct Service {
    engine: Arc<Engine>,
    description: Arc<Description>,
    /// First steps that continue after their caller's connection has closed.
    steps: TaskTracker,
    /// The author's `plugin_api` routes as `plugin_api_dispatch` calls them.
    plugin_api: Router,
}

impl Service {
    /// The routes' state: an engine and the settings of its routes.
    pub fn new(engine: Arc<Engine>, settings: ProtocolSettings) -> Arc<Self> {
        let registry = engine.registry();
        let plugin_api =
            author_routes::mount(author_routes::PLUGIN_API, &registry.routes().plugin_api, &engine);
        let description = Description::new(Arc::clone(registry), settings, Arc::clone(engine.clock()));
        Arc::new(Self {
            plugin_api: endpoint::with_either_slash(plugin_api),
            steps: TaskTracker::new(),
            engine,
            description,
        })
    }

    /// The description of the plugin.
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// Begins to fetch the gateway's public key, if it comes from a source, so that the first caller need not wait
    /// for it.
    pub fn fetch_public_key(&self) {
        if let Admission::Gateway(Some(gateway)) = &self.settings().admission {
            gateway.fetch_key(self.engine.clock().now());
        }
    }

    fn settings(&self) -> &ProtocolSettings {
        &self.description.settings
    }

    /// The engine in the context of one request.
    fn engine_for(&self, request: &Request) -> EngineCall<'_> {
        self.engine.for_call(self.call_context(request))
    }

    fn call_context(&self, request: &Request) -> CallContext {
        let now = self.engine.clock().now();
        let time_budget = request.extensions().get().map(|KilledAt(at)| TimeBudget::new(now, *at));
        CallContext { time_budget, trace: TraceContext::of(request.headers()), ..CallContext::default() }
    }

    /// Returns when every first step has ended, including those whose caller hung up. To be awaited when no more
    /// requests are accepted and before the store is closed.
    pub async fn finish_steps(&self) {
        self.steps.close();
        self.steps.wait().await;
    }
}

/// `meta` and `detail`: what the plugin is and what its versions take.
pub fn meta_routes(description: &Arc<Description>) -> Router {
    Router::new()
        .route("/bk_plugin/meta", get(meta::meta))
        .route("/bk_plugin/detail/{version}", get(detail::detail))
        .with_state(Arc::clone(description))
}

/// `invoke`, `plugin_api_dispatch` and the author's own routes: the ones that are called through the gateway.
pub fn invoke_routes(service: &Arc<Service>) -> Router {
    Router::new()
        .route("/bk_plugin/invoke/{version}", post(invoke::invoke))
        .route("/bk_plugin/plugin_api_dispatch", post(dispatch::dispatch))
        .with_state(Arc::clone(service))
        .merge(author_routes::routes(service))
}

/// `callback`: third parties wake an invocation.
pub fn callback_routes(service: &Arc<Service>) -> Router {
    Router::new()
        .route("/bk_plugin/callback/{token}", post(callback::callback))
        .with_state(Arc::clone(service))
}

/// `schedule`: callers ask for the state of an invocation.
pub fn schedule_routes(service: &Arc<Service>) -> Router {
    Router::new()
        .route("/bk_plugin/schedule/{trace_id}", get(schedule::schedule))
        .with_state(Arc::clone(service))
}

/// `logs`: what the steps of an invocation logged. Only development serves it; elsewhere logs go to the operator's
/// own collection and not to callers.
pub fn log_routes(service: &Arc<Service>, log: InvocationLog) -> Router {
    if !service.settings().admission.is_development() {
        return Router::new();
    }
    Router::new()
        .route("/bk_plugin/logs/{trace_id}", get(logs::logs))
        .with_state(logs::LogState { description: Arc::clone(&service.description), log })
}

/// `/schema/` and `/swagger/`: the OpenAPI document and a page that shows it.
pub fn document_routes(description: &Arc<Description>) -> Router {
    Router::new()
        .route("/schema", get(documents::schema))
        .route("/swagger", get(documents::swagger_page))
        .route("/swagger/{file}", get(documents::swagger_file))
        .with_state(Arc::clone(description))
}
