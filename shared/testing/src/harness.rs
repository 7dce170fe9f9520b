use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::JsonObject;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Clock as _;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::memory::{ManualClock, MemoryStore};
use bk_plugin_core::queue::Queue as _;
use bk_plugin_core::record::{FinishCallback, Record, State};
use bk_plugin_engine::callback_token::CallbackKeys;
use bk_plugin_engine::{
    Call, CallContext, CallbackError, Engine, EngineParts, FinishCallbackClient, Handled, Limits, PostError,
};
use bk_plugin_kit::Plugin;
use bk_plugin_kit::{Project, ProjectErrors};
use serde::Serialize;
use serde_json::Value;

/// Drives a plugin through its steps with virtual time and scripted callbacks, without a server.
///
/// It runs the real engine over a table and a queue in memory, so a test sees what an invocation does.
///
/// ```
/// use bk_plugin_kit::prelude::*;
/// use bk_plugin_testing::{Harness, State};
///
/// struct Patience;
///
/// impl Plugin for Patience {
///     const META: Meta = Meta::version("1.0.0");
///     type Inputs = Empty;
///     type Context = Context;
///
///     async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
///         match cx.event() {
///             Event::Invoked => Ok(Next::poll(secs(3600))),
///             _ => Ok(Next::done()),
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut run = Harness::new(Patience)?.invoke(Empty {}, Empty {}).await;
/// assert_eq!(run.state(), State::Poll);
/// run.advance(secs(3600)).await;
/// assert_eq!(run.state(), State::Success);
/// # Ok::<(), bk_plugin_kit::ProjectErrors>(()) }).unwrap();
/// ```
pub struct Harness {
    engine: Arc<Engine>,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    posts: Arc<Posts>,
    version: &'static str,
    caller: Caller,
}

/// Takes finish callbacks and answers that all is well.
#[derive(Default)]
struct Posts(Mutex<Vec<FinishCallback>>);

#[async_trait]
impl FinishCallbackClient for Posts {
    async fn post(&self, finish_callback: &FinishCallback, _: &Caller) -> Result<(), PostError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(finish_callback.clone());
        Ok(())
    }
}

/// Chooses the cryptography for TLS, as hosts do before the author's code runs.
fn install_tls() {
    // An error means that the process has chosen one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Harness {
    /// A harness around the version that `make` returns, for a constructor that needs what a host has done before it
    /// calls one: `reqwest::Client::new()` finds a cryptography for TLS.
    pub fn with<P: Plugin>(make: impl FnOnce() -> P) -> Result<Self, ProjectErrors> {
        install_tls();
        Self::new(make())
    }

    /// A harness around one version.
    #[allow(clippy::missing_panics_doc, reason = "no key is given, so none can be wrong")]
    pub fn new<P: Plugin>(plugin: P) -> Result<Self, ProjectErrors> {
        install_tls();
        let registry = Project::new("").version(plugin).build()?;
        let clock = Arc::new(ManualClock::default());
        let limits = Limits::default();
        let store = Arc::new(MemoryStore::new(clock.clone(), limits.visibility_timeout()));
        let keys = Arc::new(
            CallbackKeys::new("secret of the test harness", &[], limits.keep_finished)
                .expect("no key of the operator's own is given"),
        );
        let posts = Arc::new(Posts::default());
        let engine = Engine::new(EngineParts {
            registry: Arc::new(registry),
            table: store.clone(),
            queue: store.clone(),
            clock: clock.clone(),
            finish_callbacks: posts.clone(),
            keys,
            callback_base: "http://plugin.test/bk_plugin".to_owned(),
            limits,
        });
        Ok(Self {
            engine: Arc::new(engine),
            store,
            clock,
            posts,
            version: P::META.version,
            caller: Caller::default(),
        })
    }

    /// Sets the caller of the invocation; without it, nothing is known of the caller.
    #[must_use]
    pub fn called_by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// Invokes the version.
    ///
    /// # Panics
    ///
    /// If `inputs` or `context` do not serialize to JSON objects.
    pub async fn invoke(self, inputs: impl Serialize, context: impl Serialize) -> Run {
        let trace_id = TraceId::random();
        let call = Call { inputs: object(&inputs), context: object(&context), caller: self.caller.clone() };
        let version = self.engine.registry().version(self.version);
        let version = version.expect("the harness invokes the version it was made for");
        let invoked = self.engine.for_call(CallContext::default()).invoke(version, trace_id.clone(), call);
        let invoked = invoked.await.expect("the store in memory does not fail");
        let mut record = Record::stub(trace_id, self.clock.now());
        record.state = invoked.state;
        record.invoke_count = 1;
        record.outputs = invoked.outputs;
        record.err = invoked.err.unwrap_or_default();
        let mut run = Run { harness: self, record };
        run.settle().await;
        run
    }
}

fn object(value: &impl Serialize) -> JsonObject {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        other => panic!("inputs and context are JSON objects, not {other:?}"),
    }
}

/// An invocation in a [`Harness`].
pub struct Run {
    harness: Harness,
    record: Record,
}

impl Run {
    /// The state it is in.
    pub fn state(&self) -> State {
        self.record.state
    }

    /// Its outputs; null if it failed in its first step.
    pub fn outputs(&self) -> &Value {
        &self.record.outputs
    }

    /// Why it failed; empty if it did not.
    pub fn err(&self) -> &str {
        &self.record.err
    }

    /// How many steps were committed.
    pub fn invoke_count(&self) -> u32 {
        self.record.invoke_count
    }

    /// Finish callbacks that were sent.
    pub fn finish_callbacks(&self) -> Vec<FinishCallback> {
        self.harness.posts.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the time forward and runs every step that is due, each at its time.
    pub async fn advance(&mut self, duration: Duration) {
        let until = self.harness.clock.now() + duration;
        while let Some(due) = self.harness.store.next_due()
            && self.harness.clock.now() + due <= until
        {
            self.harness.clock.advance(due);
            self.settle().await;
        }
        self.harness.clock.advance(until.since(self.harness.clock.now()));
    }

    /// Calls a prepared callback by its URL and runs the step it is for.
    pub async fn call(&mut self, url: &str, data: impl Into<Value>) -> Result<(), CallbackError> {
        let token = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        self.harness.engine.for_call(CallContext::default()).callback(token, data.into()).await?;
        self.settle().await;
        Ok(())
    }

    /// Handles every message that is due now.
    async fn settle(&mut self) {
        let harness = &self.harness;
        loop {
            let deliveries = harness.store.receive(10, Duration::ZERO).await.unwrap_or_default();
            if deliveries.is_empty() {
                break;
            }
            for delivery in deliveries {
                let engine = harness.engine.for_call(CallContext::default());
                if engine.handle(&delivery.message, delivery.receive_count).await == Handled::Delete {
                    // The store in memory does not fail.
                    let _ = harness.store.delete(&delivery.handle).await;
                }
            }
        }
        let engine = harness.engine.for_call(CallContext::default());
        if let Ok(Some(record)) = engine.schedule(&self.record.trace_id).await {
            self.record = *record;
        }
    }
}
