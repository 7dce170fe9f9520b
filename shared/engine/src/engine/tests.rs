//! The engine over a table and a queue in memory and a clock set by hand.

mod alone;
mod callbacks;
mod finish;
mod held_threads;
mod taking_over;
mod trouble;
mod unreadable;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::ids::{LeaseToken, Receipt};
use bk_plugin_core::memory::{ManualClock, MemoryStore};
use bk_plugin_core::record::{FinishCallback, InboxEntry, Lease, State};
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Write};
use bk_plugin_kit::Project;
use bk_plugin_kit::prelude::*;
use serde_json::{Value, json};

use super::step::StepResult;
use super::*;

/// A plugin that does what its inputs say, one word a step.
struct Scripted;

#[derive(Deserialize, JsonSchema)]
struct Script {
    steps: Vec<String>,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Trail {
    trail: Vec<Value>,
}

impl Plugin for Scripted {
    const META: Meta = Meta::version("1.0.0").enable_plugin_callback();
    type Inputs = Script;
    type Context = Context<Trail, u32>;

    async fn execute(&self, inputs: Script, cx: &mut Self::Context) -> Result<Next> {
        assert_eq!(*cx.caller(), caller(), "every step knows who called");
        let step = inputs.steps[cx.storage as usize].clone();
        cx.storage += 1;
        let seen = match cx.event() {
            Event::Called(callback) => callback.data().clone(),
            event => json!(format!("{event:?}")),
        };
        cx.outputs.edit().trail.push(seen);
        match step.as_str() {
            "poll" => Ok(Next::poll(secs(10))),
            "poll an hour" => Ok(Next::poll(secs(3600))),
            "callback" => Ok(Next::callback()),
            "callback or fail" => Ok(Next::callback_or_fail(secs(100))),
            "callback or run" => Ok(Next::callback_or_run(secs(100))),
            "done" => Ok(Next::done()),
            "fail" => fail!("as asked"),
            "unexpected" => unexpected!("odd"),
            "panic" => panic!("boom"),
            "hang" => std::future::pending().await,
            "big" => {
                cx.outputs.edit().trail.push(json!("x".repeat(500_000)));
                Ok(Next::poll(secs(10)))
            }
            "big fail" => {
                cx.outputs.edit().trail.push(json!("x".repeat(500_000)));
                fail!("as asked")
            }
            "deep" => {
                let nested = (0..200).fold(Value::Null, |inner, _| json!([inner]));
                cx.outputs.edit().trail.push(nested);
                Ok(Next::poll(secs(10)))
            }
            other => unexpected!("no step {other}"),
        }
    }
}

fn caller() -> Caller {
    let name = |text: &str| Some(text.to_owned());
    Caller { app_code: name("bk_sops"), username: name("admin"), tenant_id: name("system") }
}

/// Fails as many posts as `failures` says. Counts all.
#[derive(Default)]
struct Receiver {
    failures: AtomicU32,
    received: AtomicU32,
}

#[async_trait]
impl FinishCallbackClient for Receiver {
    async fn post(&self, _: &FinishCallback, _: &Caller) -> Result<(), PostError> {
        self.received.fetch_add(1, Ordering::Relaxed);
        let fail = |left: u32| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail) {
            Ok(_) => Err(PostError("500".to_owned())),
            Err(_) => Ok(()),
        }
    }
}

/// A store in memory that is unavailable for as many calls as `failures` says.
struct Unreliable {
    store: Arc<MemoryStore>,
    failures: AtomicU32,
}

impl Unreliable {
    fn answer(&self) -> Result<(), StoreError> {
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(StoreError::Unavailable("away".into())),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Table for Unreliable {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        self.answer()?;
        self.store.create(record, inbox_len).await
    }
    async fn claim(
        &self,
        id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        self.answer()?;
        self.store.claim(id, on, lease, now).await
    }
    async fn commit(&self, id: &TraceId, token: &LeaseToken, commit: &Commit) -> Result<Write, StoreError> {
        self.answer()?;
        self.store.commit(id, token, commit).await
    }
    async fn append(&self, id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        self.answer()?;
        self.store.append(id, append).await
    }
    async fn settle(&self, id: &TraceId) -> Result<(), StoreError> {
        self.answer()?;
        self.store.settle(id).await
    }
    async fn read(&self, id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        self.answer()?;
        self.store.read(id).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.answer()
    }
}

struct Bench {
    engine: Arc<Engine>,
    store: Arc<MemoryStore>,
    unreliable: Arc<Unreliable>,
    clock: Arc<ManualClock>,
    receiver: Arc<Receiver>,
    keys: Arc<CallbackKeys>,
    trace_id: TraceId,
}

const URL_INFO: &str = "plugin_callback_info";

impl Bench {
    fn new() -> Self {
        Self::of(Project::new("").version(Scripted), None)
    }

    /// One of these versions, whose steps run on `threads` or in place.
    fn of(project: Project, threads: Option<Arc<AuthorThreads>>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let limits = Limits::default();
        let store = Arc::new(MemoryStore::new(clock.clone(), limits.visibility_timeout()));
        let unreliable = Arc::new(Unreliable { store: store.clone(), failures: AtomicU32::new(0) });
        let receiver = Arc::new(Receiver::default());
        let keys = Arc::new(CallbackKeys::new("secret", &[], limits.keep_finished).unwrap());
        let engine = Engine::new(EngineParts {
            registry: Arc::new(project.build().unwrap()),
            table: unreliable.clone(),
            queue: store.clone(),
            clock: clock.clone(),
            finish_callbacks: receiver.clone(),
            keys: keys.clone(),
            callback_base: "http://plugin.test/bk_plugin".to_owned(),
            limits,
        });
        let engine = match threads {
            Some(threads) => engine.with_author_threads(threads),
            None => engine,
        };
        let trace_id = TraceId::random();
        Self { engine: Arc::new(engine), store, unreliable, clock, receiver, keys, trace_id }
    }

    /// The engine at work on a call without a trace and without an end.
    fn call_engine(&self) -> EngineCall<'_> {
        self.engine.for_call(CallContext::default())
    }

    async fn invoke(&self, steps: &[&str]) -> Invoked {
        let inputs = json!({"steps": steps}).as_object().cloned().unwrap();
        let context =
            json!({URL_INFO: {"url": "http://caller.test/", "data": {}}}).as_object().cloned().unwrap();
        let call = Call { inputs, context, caller: caller() };
        let version = self.engine.registry().version("1.0.0").unwrap();
        self.call_engine().invoke(version, self.trace_id.clone(), call).await.unwrap()
    }

    /// A token of a callback that the invocation may have prepared.
    fn token(&self) -> String {
        self.keys.mint(&bk_plugin_core::ids::CallbackId::random(), &self.trace_id, self.clock.now())
    }

    async fn call(&self, data: Value) -> Result<(), CallbackError> {
        self.call_engine().callback(&self.token(), data).await.map(|_| ())
    }

    /// Receives and handles messages until none is due.
    async fn work(&self) {
        loop {
            let due = self.store.receive(10, Duration::ZERO).await.unwrap();
            if due.is_empty() {
                return;
            }
            for delivery in due {
                if self.call_engine().handle(&delivery.message, delivery.receive_count).await
                    == Handled::Delete
                {
                    self.store.delete(&delivery.handle).await.unwrap();
                }
            }
        }
    }

    async fn pass(&self, time: Duration) {
        let end = self.clock.now() + time;
        while let Some(due) = self.store.next_due()
            && self.clock.now() + due <= end
        {
            self.clock.advance(due);
            self.work().await;
        }
        self.clock.advance(end.since(self.clock.now()));
    }

    async fn record(&self) -> Box<Record> {
        self.store.read(&self.trace_id).await.unwrap().unwrap()
    }

    fn wake_up(&self, after_step: u32) -> Message {
        let due_at = self.clock.now();
        let trace_id = self.trace_id.clone();
        Message::WakeUp(WakeUp::for_step(trace_id, after_step, due_at))
    }

    /// Claims a step as a runner does that crashes before it commits.
    async fn claim_and_die(&self, after_step: u32) {
        let lease = self.call_engine().new_lease(self.clock.now());
        let on = ClaimOn::Step(after_step);
        let claim = self.store.claim(&self.trace_id, &on, &lease, self.clock.now()).await.unwrap();
        assert!(matches!(claim, Claim::Granted(_)), "{claim:?}");
    }
}

#[tokio::test]
async fn an_end_in_the_first_step_writes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.invoke(&["done"]).await.state, State::Success);
    let failed = bench.invoke(&["fail"]).await;
    assert_eq!(failed.outputs, Value::Null);
    assert_eq!(failed.err.unwrap(), "plugin execute failed: as asked");
    let panicked = bench.invoke(&["panic"]).await;
    assert_eq!(panicked.err.unwrap(), "plugin execute raise unexpected error: panicked: boom");
    assert!(bench.store.read(&bench.trace_id).await.unwrap().is_none());
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn an_authors_error_keeps_the_step_and_an_unexpected_one_does_not() {
    for (end, kept, err) in
        [("fail", 2, "as asked"), ("unexpected", 1, "odd"), ("panic", 1, "panicked: boom")]
    {
        let bench = Bench::new();
        bench.invoke(&["poll", end]).await;
        bench.pass(secs(10)).await;
        let record = bench.record().await;
        assert_eq!(record.err, format!("plugin schedule failed: {err}"));
        assert_eq!(record.outputs["trail"].as_array().unwrap().len(), kept, "{end}");
        assert_eq!((record.state, record.invoke_count), (State::Fail, 2));
    }
}

#[tokio::test]
async fn a_duplicate_wake_up_commits_nothing_twice() {
    let bench = Bench::new();
    bench.invoke(&["poll", "poll", "done"]).await;
    bench.store.send(&bench.wake_up(1), secs(10)).await.unwrap();
    bench.pass(secs(10)).await;
    assert_eq!(bench.record().await.invoke_count, 2);
    assert_eq!(bench.store.messages().len(), 1, "the wake-up of the third step alone");
}

#[tokio::test]
async fn a_wake_up_ahead_of_its_record_waits_for_it_and_is_dropped_in_the_end() {
    let bench = Bench::new();
    bench.store.send(&bench.wake_up(1), Duration::ZERO).await.unwrap();
    bench.pass(secs(1)).await;
    assert_eq!(bench.store.messages().len(), 1);
    bench.pass(bench.engine.parts.limits.put_back_limit() + secs(3)).await;
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_wake_up_waits_for_a_commit_that_is_still_under_way_when_the_lease_ends() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.store.send(&bench.wake_up(2), Duration::ZERO).await.unwrap();
    bench.pass(bench.engine.parts.limits.lease() + secs(60)).await;
    assert_eq!(bench.store.messages().len(), 2);
}

#[tokio::test]
async fn a_long_wait_hops() {
    let bench = Bench::new(); // the longest delay is 15 minutes
    bench.invoke(&["poll an hour", "done"]).await;
    bench.pass(secs(3599)).await;
    assert_eq!(bench.record().await.invoke_count, 1);
    bench.pass(secs(1)).await;
    assert_eq!(bench.record().await.state, State::Success);
}
