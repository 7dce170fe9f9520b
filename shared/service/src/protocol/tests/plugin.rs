//! A plugin with three versions and routes of its own, served over a store in memory. Their code runs on threads of its
//! own, as in every host.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Multipart, OriginalUri, Path, RawQuery, Request};
use axum::response::Response;
use axum::routing::{get, post};
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::{CallbackId, LeaseToken, TraceId};
use bk_plugin_core::memory::{ManualClock, MemoryStore};
use bk_plugin_core::queue::{Delivery, Message, Queue, Receive};
use bk_plugin_core::record::{FinishCallback, Lease, Record};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use bk_plugin_engine::author_threads::AuthorThreads;
use bk_plugin_engine::callback_token::CallbackKeys;
use bk_plugin_engine::{CallContext, Engine, EngineParts, FinishCallbackClient, Limits, PostError};
use bk_plugin_kit::prelude::*;
use bk_plugin_kit::runtime::Registry;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::protocol::{
    Admission, Endpoint, InvocationLog, ProtocolSettings, Service, callback_routes, document_routes,
    endpoint, invoke_routes, log_routes, meta_routes, schedule_routes, time_zone,
};

/// Text, or what a number too long for JSON numbers has become.
#[derive(Deserialize, JsonSchema)]
struct Hello {
    hello: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct World {
    world: String,
}

struct Echo;

impl Plugin for Echo {
    const META: Meta = Meta::version("1.0.0").form("form of 1.0.0");
    type Inputs = Hello;
    type Context = Context<World>;

    async fn execute(&self, inputs: Hello, cx: &mut Self::Context) -> Result<Next> {
        tracing::info!("echo says {}", inputs.hello);
        cx.outputs.set(World { world: inputs.hello });
        Ok(Next::done())
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Url {
    url: String,
}

/// Waits for one callback.
struct Called;

impl Plugin for Called {
    const META: Meta = Meta::version("1.3.0");
    type Inputs = Empty;
    type Context = Context<Url>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if let Event::Called(_) = cx.event() {
            return Ok(Next::done());
        }
        let url = cx.prepare_callback().url;
        cx.outputs.set(Url { url });
        Ok(Next::Callback(CallbackWait::Forever))
    }
}

/// Takes its time in the first step, then polls.
struct Slow;

impl Plugin for Slow {
    const META: Meta = Meta::version("1.10.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Next::poll(secs(1)))
    }
}

/// Answers with what it received.
async fn echo(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut headers: Vec<_> = parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
    headers.sort();
    let answer = json!({
        "method": parts.method.as_str(),
        "path": uri.path(),
        "query": query,
        "caller": caller,
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    Response::builder().status(201).body(answer.to_string().into()).unwrap()
}

/// Answers 200, so that the slash tests can tell its answer from the others.
async fn echo_ok(caller: Caller, uri: OriginalUri, query: RawQuery, request: Request) -> Response {
    let mut response = echo(caller, uri, query, request).await;
    *response.status_mut() = axum::http::StatusCode::OK;
    response
}

async fn files(mut multipart: Multipart) -> axum::Json<Value> {
    let mut parts = Vec::new();
    while let Some(field) = multipart.next_field().await.unwrap() {
        let (name, file, kind) = (
            field.name().map(ToOwned::to_owned),
            field.file_name().map(ToOwned::to_owned),
            field.content_type().map(ToOwned::to_owned),
        );
        let text = String::from_utf8_lossy(&field.bytes().await.unwrap()).into_owned();
        parts.push(json!([name, file, kind, text]));
    }
    axum::Json(Value::Array(parts))
}

async fn task_list(Path(biz_id): Path<u64>) -> axum::Json<Value> {
    axum::Json(json!([biz_id]))
}

async fn panics() {
    panic!("boom");
}

async fn fails() -> Result<()> {
    fail!("no such biz")
}

async fn fails_unexpectedly() -> Result<()> {
    unexpected!("boom")
}

async fn own_404() -> (axum::http::StatusCode, &'static str) {
    (axum::http::StatusCode::NOT_FOUND, "no such thing")
}

async fn sleeps() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// A body of three frames, whose length is not known before.
async fn frames() -> Body {
    let frame = |number| async move {
        tokio::task::yield_now().await;
        Ok::<_, std::io::Error>(format!("{number} "))
    };
    Body::from_stream(futures::stream::iter(0..3).then(frame))
}

/// A body that panics after its first frame.
async fn broken() -> Body {
    Body::from_stream(futures::stream::iter(0..3).map(|number| {
        assert_eq!(number, 0);
        Ok::<_, std::io::Error>("begins ")
    }))
}

fn registry() -> Registry {
    let plugin_api = Router::new()
        .route("/with/", get(echo_ok).post(echo))
        .route("/without", get(echo_ok))
        .route("/files/", post(files))
        .route("/task_list/{biz_id}/", get(task_list))
        .route("/panic/", get(panics))
        .route("/fail/", get(fails))
        .route("/unexpected/", get(fails_unexpectedly))
        .route("/404/", get(own_404))
        .route("/slow/", get(sleeps))
        .route("/blocks/", get(async || std::thread::sleep(secs(30))))
        .route("/frames/", get(frames))
        .route("/broken/", get(broken));
    Project::new("for tests 测试")
        .version(Echo)
        .version(Called)
        .version(Slow)
        .allow_scope("bk_sops", "project", ["1"])
        .plugin_api(plugin_api)
        .openapi(Router::new().route("/", get(echo_ok)))
        .private(Router::new().route("/there", get(echo_ok)).fallback(own_404))
        .build()
        .unwrap()
}

pub(super) struct Fixture {
    pub(super) routes: Endpoint,
    pub(super) worker: Worker,
    pub(super) log: InvocationLog,
    pub(super) clock: Arc<ManualClock>,
}

/// Runs the messages in the queue.
pub(super) struct Worker {
    engine: Arc<Engine>,
    store: Arc<MemoryStore>,
}

impl Worker {
    pub(super) async fn run(&self) {
        for delivery in self.store.receive(10, Duration::ZERO).await.unwrap() {
            let _ = self
                .engine
                .for_call(CallContext::default())
                .handle(&delivery.message, delivery.receive_count)
                .await;
            self.store.delete(&delivery.handle).await.unwrap();
        }
    }

    /// Number of invocations that have a wake-up waiting.
    pub(super) fn records(&self) -> usize {
        self.store.messages().len()
    }
}

struct NoPosts;

#[async_trait]
impl FinishCallbackClient for NoPosts {
    async fn post(&self, _: &FinishCallback, _: &Caller) -> std::result::Result<(), PostError> {
        Ok(())
    }
}

fn engine(
    table: Arc<dyn Table>,
    queue: Arc<dyn Queue>,
    clock: Arc<ManualClock>,
    limits: Limits,
) -> Arc<Engine> {
    let engine = Engine::new(EngineParts {
        registry: Arc::new(registry()),
        table,
        queue,
        clock,
        finish_callbacks: Arc::new(NoPosts),
        keys: keys(),
        callback_base: "http://plugin.test/bk_plugin".to_owned(),
        limits,
    });
    Arc::new(engine.with_author_threads(AuthorThreads::start(8).unwrap()))
}

fn keys() -> Arc<CallbackKeys> {
    Arc::new(CallbackKeys::new("secret of the tests", &[], Duration::from_hours(24)).unwrap())
}

/// The path of a callback that was never prepared.
pub(super) fn callback_path() -> String {
    let token = keys().mint(&CallbackId::random(), &TraceId::random(), ManualClock::default().now());
    format!("/bk_plugin/callback/{token}/")
}

fn routes(engine: &Arc<Engine>, log: InvocationLog, change: impl FnOnce(&mut ProtocolSettings)) -> Endpoint {
    let mut settings = ProtocolSettings::new("bk-plugin-demo", time_zone(None).unwrap());
    settings.admission = Admission::Development;
    change(&mut settings);
    let service = Service::new(Arc::clone(engine), settings);
    let groups = [
        meta_routes(service.description()),
        invoke_routes(&service),
        callback_routes(&service),
        schedule_routes(&service),
        log_routes(&service, log),
        document_routes(service.description()),
    ];
    endpoint(service.description(), groups.into_iter().fold(Router::new(), Router::merge))
}

/// All routes, in development mode.
pub(super) fn fixture(change: impl FnOnce(&mut ProtocolSettings)) -> Fixture {
    let clock = Arc::new(ManualClock::default());
    let limits = Limits::default();
    let store = Arc::new(MemoryStore::new(clock.clone(), limits.visibility_timeout()));
    let engine = engine(store.clone(), store.clone(), clock.clone(), limits);
    let log = InvocationLog::default();
    Fixture { routes: routes(&engine, log.clone(), change), worker: Worker { engine, store }, log, clock }
}

/// All routes over a store that does not answer.
pub(super) fn fixture_without_store() -> Endpoint {
    let limits = Limits { store_patience: Duration::ZERO, ..Limits::default() };
    let engine = engine(Arc::new(Away), Arc::new(Away), Arc::new(ManualClock::default()), limits);
    routes(&engine, InvocationLog::default(), |_| {})
}

/// A table and a queue that do not answer.
struct Away;

fn away<T>() -> std::result::Result<T, StoreError> {
    Err(StoreError::Unavailable("secret host refuses the connection".into()))
}

type Stored<T> = std::result::Result<T, StoreError>;

#[async_trait]
impl Table for Away {
    async fn create(&self, _: &Record, _: Option<usize>) -> Stored<Write> {
        away()
    }

    async fn claim(&self, _: &TraceId, _: &ClaimOn, _: &Lease, _: Timestamp) -> Stored<Claim> {
        away()
    }

    async fn commit(&self, _: &TraceId, _: &LeaseToken, _: &Commit) -> Stored<Write> {
        away()
    }

    async fn append(&self, _: &TraceId, _: &Append) -> Stored<Write> {
        away()
    }

    async fn settle(&self, _: &TraceId) -> Stored<()> {
        away()
    }

    async fn read(&self, _: &TraceId) -> Stored<Option<Box<Record>>> {
        away()
    }

    async fn ping(&self) -> Stored<()> {
        away()
    }
}

#[async_trait]
impl Queue for Away {
    async fn send(&self, _: &Message, _: Duration) -> Stored<()> {
        away()
    }

    async fn receive_selected(&self, _: Receive<'_>) -> Stored<Vec<Delivery>> {
        away()
    }

    async fn delete(&self, _: &str) -> Stored<()> {
        away()
    }

    fn longest_delay(&self) -> Duration {
        Duration::from_mins(15)
    }
}
