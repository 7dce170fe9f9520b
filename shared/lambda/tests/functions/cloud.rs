//! A plugin deployed to emulators: its HTTP routes, and Lambda's pollers in front of `poll-tick`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::SqsEvent;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bk_plugin_aws::Clients;
use bk_plugin_aws::dynamodb::DynamoDbTable;
use bk_plugin_aws::sqs::SqsQueue;
use bk_plugin_core::clock::Clock as _;
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::record::FinishCallback;
use bk_plugin_engine::author_threads::AuthorThreads;
use bk_plugin_engine::callback_token::CallbackKeys;
use bk_plugin_engine::{Engine, EngineParts, FinishCallbackClient, Limits, PostError};
use bk_plugin_kit::prelude::*;
use bk_plugin_lambda::batch::PollTick;
use bk_plugin_service::protocol::{self, Endpoint, ProtocolSettings, Service, time_zone};
use local_aws::{EventSourceMapping, LocalAws, QueueOptions};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// How long a function may run, and for how long a message is hidden.
pub(crate) const TIME_OUT: Duration = Duration::from_mins(1);
pub(crate) const VISIBILITY: Duration = Duration::from_mins(6);
const MAX_RECEIVE_COUNT: u32 = 5;

/// Does what `path` says, step by step: `poll`, `callback`, `end`, `fail`, `die`, `block`.
struct Path;

#[derive(Deserialize, JsonSchema)]
struct Inputs {
    path: Vec<String>,
    /// Seconds between polls.
    #[serde(default = "one")]
    interval: u64,
    /// Text that is put out.
    #[serde(default)]
    text: String,
}

fn one() -> u64 {
    1
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Outputs {
    url: String,
    heard: Vec<Value>,
    text: String,
}

impl Plugin for Path {
    const META: Meta = Meta::version("1.0.0").enable_plugin_callback();
    type Inputs = Inputs;
    type Context = Context<Outputs>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        if let Event::Called(callback) = cx.event() {
            cx.outputs.edit().heard.push(callback.data().clone());
        }
        let step = cx.invoke_count() as usize - 1;
        cx.outputs.edit().text.clone_from(&inputs.text);
        match inputs.path.get(step).map_or("end", String::as_str) {
            "poll" => Ok(Next::poll(Duration::from_secs(inputs.interval))),
            "callback" => {
                let prepared = cx.prepare_callback();
                cx.outputs.edit().url = prepared.url;
                Ok(Next::callback())
            }
            "fail" => fail!("as told"),
            // Whoever runs this never comes back.
            "die" => std::future::pending().await,
            "block" => {
                std::thread::sleep(Duration::from_secs(5));
                Ok(Next::done())
            }
            _ => Ok(Next::done()),
        }
    }
}

/// Counts what is posted.
#[derive(Default)]
pub(crate) struct Posts(AtomicU32);

#[async_trait]
impl FinishCallbackClient for Posts {
    async fn post(&self, _: &FinishCallback, _: &Caller) -> Result<(), PostError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The deployed plugin.
pub(crate) struct Cloud {
    pub(crate) aws: LocalAws,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) poll_tick: PollTick,
    pub(crate) wake_ups: EventSourceMapping,
    pub(crate) dead_letters: EventSourceMapping,
    routes: Endpoint,
    posts: Arc<Posts>,
    /// Whether the function dies with its next batch.
    pub(crate) crashes: AtomicBool,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let aws = LocalAws::start(clock.clone()).await;
        aws.create_table("invocations");
        let options = QueueOptions { visibility_timeout: VISIBILITY, ..QueueOptions::default() };
        aws.create_queue("dead-letters", options.clone());
        let redrive = Some(("dead-letters".to_owned(), MAX_RECEIVE_COUNT));
        let queue_url = aws.create_queue("wake-ups", QueueOptions { redrive, ..options });
        let clients = Clients::new(&|name| match name {
            "AWS_ENDPOINT_URL" => Some(aws.endpoint().to_owned()),
            "AWS_SESSION_TOKEN" => None,
            _ => Some("us-east-1".to_owned()),
        });
        let clients = clients.unwrap();
        let posts = Arc::new(Posts::default());
        let queue = Arc::new(SqsQueue::new(clients.sqs(), queue_url, Duration::from_mins(15)));
        let engine = Engine::new(EngineParts {
            registry: Arc::new(Project::new("for tests").version(Path).build().unwrap()),
            table: Arc::new(DynamoDbTable::new(clients.dynamodb(), "invocations")),
            queue: queue.clone(),
            clock: clock.clone(),
            finish_callbacks: posts.clone(),
            keys: Arc::new(CallbackKeys::new("secret of the tests", &[], Duration::from_hours(24)).unwrap()),
            callback_base: "http://plugin.test/bk_plugin".to_owned(),
            limits: Limits { max_receive_count: MAX_RECEIVE_COUNT, ..Limits::default() },
        });
        let engine = Arc::new(engine.with_author_threads(AuthorThreads::start(32).unwrap()));
        let mut settings = ProtocolSettings::new("bk-plugin-demo", time_zone(None).unwrap());
        settings.admission = protocol::Admission::Anyone;
        let service = Service::new(Arc::clone(&engine), settings);
        let groups = [
            protocol::invoke_routes(&service),
            protocol::callback_routes(&service),
            protocol::schedule_routes(&service),
        ];
        let routes =
            protocol::endpoint(service.description(), groups.into_iter().fold(Router::new(), Router::merge));
        Self {
            poll_tick: PollTick::new(engine, queue, aws.queue_arn("dead-letters")),
            wake_ups: aws.event_source_mapping("wake-ups", 10),
            dead_letters: aws.event_source_mapping("dead-letters", 10),
            routes,
            posts,
            clock,
            aws,
            crashes: AtomicBool::new(false),
        }
    }

    /// Status and body of an answer.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.call_with(&[], method, path, body).await
    }

    /// The same, with headers.
    pub(crate) async fn call_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// Invokes the plugin, with a finish callback or without; trace_id and data.
    pub(crate) async fn invoke(&self, inputs: Value, finish_callback: bool) -> (String, Value) {
        let info = finish_callback.then(|| json!({ "url": "http://caller.test/", "data": {} }));
        let context = json!({ "plugin_callback_info": info });
        let body = json!({ "inputs": inputs, "context": context });
        let (status, answer) = self.call("POST", "/bk_plugin/invoke/1.0.0", &body).await;
        assert_eq!((status, &answer["result"]), (200, &json!(true)), "{answer}");
        (answer["trace_id"].as_str().unwrap().to_owned(), answer["data"].clone())
    }

    pub(crate) async fn schedule(&self, trace_id: &str) -> Value {
        let path = format!("/bk_plugin/schedule/{trace_id}");
        let (status, answer) = self.call("GET", &path, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    }

    /// Calls a callback URL.
    pub(crate) async fn call_back(&self, url: &Value, data: &Value) -> (u16, Value) {
        let path = url.as_str().unwrap().strip_prefix("http://plugin.test").unwrap();
        self.call("POST", path, data).await
    }

    /// Lets that much time pass, then gives `poll-tick` one batch of what can be received, if there is any.
    pub(crate) async fn tick(&self, after: Duration) -> usize {
        self.clock.advance(after);
        self.one_batch(&self.wake_ups).await
    }

    /// The same with the dead-letter queue.
    pub(crate) async fn tick_of_dead_letters(&self) -> usize {
        self.one_batch(&self.dead_letters).await
    }

    /// How many messages were handled and deleted.
    async fn one_batch(&self, source: &EventSourceMapping) -> usize {
        let Some(event) = source.receive_batch() else { return 0 };
        if self.crashes.swap(false, Ordering::Relaxed) {
            return 0;
        }
        let batch: SqsEvent = serde_json::from_value(event.clone()).unwrap();
        let ends_at = self.clock.now() + TIME_OUT;
        // One that does not come back in that time has died.
        let handled =
            tokio::time::timeout(Duration::from_secs(1), self.poll_tick.handle(batch, ends_at)).await;
        handled.map_or(0, |response| source.settle(&event, &serde_json::to_value(response).unwrap()))
    }

    /// Works until nothing more is due within an hour.
    pub(crate) async fn work(&self) {
        let mut quiet = 0;
        while quiet < 3600 {
            quiet = if self.tick(Duration::from_secs(1)).await > 0 { 0 } else { quiet + 1 };
        }
    }

    pub(crate) fn posts(&self) -> u32 {
        self.posts.0.load(Ordering::Relaxed)
    }
}
