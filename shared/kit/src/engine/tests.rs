//! The engine over a table and a queue in memory and a clock set by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::step::Ended;
use super::*;
use crate::ids::Receipt;
use crate::prelude::*;
use crate::project::Project;
use crate::record::{FinishCallback, InboxEntry, State};
use crate::table::{Append, Claim, ClaimOn, Commit, Write};
use crate::testing::{ManualClock, MemoryStore};

/// A plugin that does what its inputs say, step by step.
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
    type ContextInputs = Empty;
    type Storage = u32;
    type Outputs = Trail;

    async fn execute(&self, inputs: Script, cx: &mut Context<Self>) -> Result<Next> {
        let step = inputs.steps[cx.storage as usize].clone();
        cx.storage += 1;
        let seen = match cx.event() {
            Event::Called(callback) => callback.data().clone(),
            event => json!(format!("{event:?}")),
        };
        cx.outputs.get_or_insert_default().trail.push(seen);
        match step.as_str() {
            "poll" => Ok(Next::poll(secs(10))),
            "poll an hour" => Ok(Next::poll(secs(3600))),
            "callback" => Ok(Next::callback()),
            "callback or fail" => Ok(Next::callback_or_fail(secs(100))),
            "callback or run" => Ok(Next::callback_or_run(secs(100))),
            "done" => Ok(Next::done()),
            "fail" => fail("as asked"),
            "unexpected" => unexpected("odd"),
            "panic" => panic!("boom"),
            "hang" => std::future::pending().await,
            "big" => {
                cx.outputs.get_or_insert_default().trail.push(json!("x".repeat(500_000)));
                Ok(Next::poll(secs(10)))
            }
            "big fail" => {
                cx.outputs.get_or_insert_default().trail.push(json!("x".repeat(500_000)));
                fail("as asked")
            }
            "deep" => {
                let nested = (0..200).fold(Value::Null, |inner, _| json!([inner]));
                cx.outputs.get_or_insert_default().trail.push(nested);
                Ok(Next::poll(secs(10)))
            }
            other => unexpected(format!("no step {other}")),
        }
    }
}

/// Fails posts as often as it is told, then counts.
#[derive(Default)]
struct Receiver {
    failures: AtomicU32,
    received: AtomicU32,
}

#[async_trait]
impl FinishCallbackClient for Receiver {
    async fn post(&self, _: &FinishCallback) -> Result<(), PostError> {
        self.received.fetch_add(1, Ordering::Relaxed);
        let fail = |left: u32| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail) {
            Ok(_) => Err(PostError("500".to_owned())),
            Err(_) => Ok(()),
        }
    }
}

/// Passes everything on to a store in memory, after as many failures as it is told.
struct Weather {
    store: Arc<MemoryStore>,
    failures: AtomicU32,
}

impl Weather {
    fn now(&self) -> Result<(), StoreError> {
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Err(StoreError::Unavailable("away".into())),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Table for Weather {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        self.now()?;
        self.store.create(record, inbox_len).await
    }
    async fn claim(
        &self,
        id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        self.now()?;
        self.store.claim(id, on, lease, now).await
    }
    async fn commit(&self, id: &TraceId, token: &LeaseToken, commit: &Commit) -> Result<Write, StoreError> {
        self.now()?;
        self.store.commit(id, token, commit).await
    }
    async fn append(&self, id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        self.now()?;
        self.store.append(id, append).await
    }
    async fn settle(&self, id: &TraceId) -> Result<(), StoreError> {
        self.now()?;
        self.store.settle(id).await
    }
    async fn read(&self, id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        self.now()?;
        self.store.read(id).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.now()
    }
}

struct Bench {
    engine: Arc<Engine>,
    store: Arc<MemoryStore>,
    weather: Arc<Weather>,
    clock: Arc<ManualClock>,
    receiver: Arc<Receiver>,
    keys: Arc<CallbackKeys>,
    trace_id: TraceId,
}

const URL_INFO: &str = "plugin_callback_info";

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let limits = Limits::default();
        let store = Arc::new(MemoryStore::new(clock.clone(), limits.visibility_timeout()));
        let weather = Arc::new(Weather { store: store.clone(), failures: AtomicU32::new(0) });
        let receiver = Arc::new(Receiver::default());
        let keys = Arc::new(CallbackKeys::new("secret", &[], limits.keep_finished).unwrap());
        let engine = Engine::new(EngineParts {
            registry: Arc::new(Project::new("").version(Scripted).build().unwrap()),
            table: weather.clone(),
            queue: store.clone(),
            clock: clock.clone(),
            finish_callbacks: receiver.clone(),
            keys: keys.clone(),
            callback_base: "http://plugin.test/bk_plugin".to_owned(),
            limits,
        });
        let trace_id = TraceId::random();
        Self { engine: Arc::new(engine), store, weather, clock, receiver, keys, trace_id }
    }

    async fn invoke(&self, steps: &[&str]) -> Invoked {
        let inputs = json!({"steps": steps}).as_object().cloned().unwrap();
        let context =
            json!({URL_INFO: {"url": "http://caller.test/", "data": {}}}).as_object().cloned().unwrap();
        self.engine.invoke(self.trace_id.clone(), "1.0.0", inputs, context).await.unwrap().unwrap()
    }

    /// Another step before the invocation has a record would be given this token.
    fn token(&self) -> String {
        self.keys.mint(&crate::ids::CallbackId::random(), &self.trace_id, self.clock.now())
    }

    async fn call(&self, data: Value) -> Result<(), CallbackError> {
        self.engine.callback(&self.token(), data).await.map(|_| ())
    }

    /// Receives and handles what is due until nothing is.
    async fn work(&self) {
        loop {
            let due = self.store.receive(10, Duration::ZERO).await.unwrap();
            if due.is_empty() {
                return;
            }
            for delivery in due {
                if self.engine.handle(&delivery.message, delivery.receive_count).await == Handled::Delete {
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

    /// Claims as a runner would that dies before it commits.
    async fn claim_and_die(&self, after_step: u32) {
        let lease = self.engine.new_lease(self.clock.now());
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
async fn polling_runs_to_its_end_and_the_finish_callback_is_sent_once() {
    let bench = Bench::new();
    assert_eq!(bench.invoke(&["poll", "poll", "done"]).await.state, State::Poll);
    bench.pass(secs(19)).await;
    assert_eq!(bench.record().await.invoke_count, 2);
    bench.pass(secs(1)).await;
    let record = bench.record().await;
    assert_eq!((record.state, record.invoke_count, record.owed), (State::Success, 3, false));
    assert_eq!(record.outputs, json!({"trail": ["Invoked", "Polled", "Polled"]}));
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1);
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
async fn a_dead_runners_lease_ends_and_the_step_runs() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.claim_and_die(1).await;
    bench.pass(secs(80)).await;
    assert_eq!(bench.record().await.state, State::Poll, "the lease of 85 seconds lives");
    bench.pass(secs(5)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_wake_up_ahead_of_its_record_waits_for_it_and_is_dropped_in_the_end() {
    let bench = Bench::new();
    bench.store.send(&bench.wake_up(1), Duration::ZERO).await.unwrap();
    bench.pass(secs(1)).await;
    assert_eq!(bench.store.messages().len(), 1);
    bench.pass(bench.engine.limits.put_back_limit() + secs(3)).await;
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_wake_up_waits_for_a_commit_that_is_still_under_way_when_the_lease_ends() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.store.send(&bench.wake_up(2), Duration::ZERO).await.unwrap();
    bench.pass(bench.engine.limits.lease() + secs(60)).await;
    assert_eq!(bench.store.messages().len(), 2);
}

#[tokio::test]
async fn a_process_that_stood_still_writes_nothing_any_more() {
    let bench = Bench::new();
    let asked = AtomicU32::new(0);
    let ask = || async {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let until = bench.engine.patience();
    bench.engine.patiently(until, ask).await.unwrap();
    bench.clock.advance(secs(100));
    assert!(matches!(bench.engine.patiently(until, ask).await, Err(StoreError::Unavailable(_))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn callbacks_are_handed_over_one_a_step_in_order() {
    let bench = Bench::new();
    bench.invoke(&["callback", "callback", "done"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.call(json!(2)).await.unwrap();
    bench.work().await;
    let record = bench.record().await;
    assert_eq!(record.outputs, json!({"trail": ["Invoked", 1, 2]}));
    assert_eq!(record.state, State::Success);
    assert!(matches!(bench.call(json!(3)).await, Err(CallbackError::NotWaiting(Some(State::Success)))));
    bench.pass(secs(300)).await;
    assert!(bench.store.messages().is_empty(), "{:?}", bench.store.messages());
}

#[tokio::test]
async fn a_callback_before_the_first_record_waits_in_a_stub() {
    let bench = Bench::new();
    bench.call(json!("early")).await.unwrap();
    bench.work().await;
    assert!(bench.engine.schedule(&bench.trace_id).await.unwrap().is_none(), "a stub is no invocation");
    bench.invoke(&["callback", "done"]).await;
    bench.pass(secs(5)).await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "early"]}));
}

#[tokio::test]
async fn a_callback_during_poll_waits_for_the_callback_state() {
    let bench = Bench::new();
    bench.invoke(&["poll", "callback", "done"]).await;
    bench.call(json!("early")).await.unwrap();
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Poll);
    bench.pass(secs(10)).await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "Polled", "early"]}));
}

#[tokio::test]
async fn a_callback_that_comes_while_the_step_before_runs_is_seen_by_its_commit() {
    let bench = Bench::new();
    bench.invoke(&["poll", "callback", "done"]).await;
    let now = bench.clock.now();
    let lease = bench.engine.new_lease(now);
    let Claim::Granted(mut record) =
        bench.store.claim(&bench.trace_id, &ClaimOn::Step(1), &lease, now).await.unwrap()
    else {
        panic!("not claimed")
    };
    let ended = bench.engine.run_claimed(&mut record).await;
    let Message::WakeUp(wake_up) = bench.wake_up(1) else { unreachable!() };
    bench.call(json!("meanwhile")).await.unwrap();
    bench.work().await; // finds POLL and drops the callback's wake-up
    assert_eq!(
        bench.engine.send_and_commit(&wake_up, ended, &record, &lease).await.unwrap(),
        Handled::Delete
    );
    bench.work().await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "Polled", "meanwhile"]}));
}

#[tokio::test]
async fn a_wait_for_a_callback_ends_at_its_deadline() {
    let bench = Bench::new();
    bench.invoke(&["callback or fail", "done"]).await;
    bench.pass(secs(99)).await;
    assert_eq!(bench.record().await.state, State::Callback);
    bench.pass(secs(1)).await;
    let record = bench.record().await;
    assert_eq!(record.err, "plugin schedule failed: no callback came in the time given for it");

    let bench = Bench::new();
    bench.invoke(&["callback or run", "done"]).await;
    bench.pass(secs(100)).await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "TimedOut"]}));
}

#[tokio::test]
async fn a_deadline_of_a_wait_that_ended_well_does_nothing() {
    let bench = Bench::new();
    bench.invoke(&["callback or fail", "callback", "done"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.pass(secs(200)).await;
    assert_eq!(bench.record().await.state, State::Callback);
    bench.call(json!(2)).await.unwrap();
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Success);
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

#[tokio::test]
async fn a_callback_whose_wake_up_seems_to_come_from_the_future_is_not_lost() {
    let bench = Bench::new();
    bench.invoke(&["callback", "done"]).await;
    let receipt = Receipt::random();
    let entry = InboxEntry {
        receipt: receipt.clone(),
        callback_id: crate::ids::CallbackId::random(),
        data: json!(1),
    };
    bench.store.append(&bench.trace_id, &Append { entry, stub: None }).await.unwrap();
    // Sent by a machine whose clock is three seconds ahead.
    let due_at = bench.clock.now() + secs(3);
    let trace_id = bench.trace_id.clone();
    let wake_up = WakeUp::for_callback(trace_id, receipt, due_at);
    bench.store.send(&Message::WakeUp(wake_up), Duration::ZERO).await.unwrap();
    bench.pass(secs(4)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_step_over_its_time_limit_fails() {
    let bench = Bench::new();
    bench.invoke(&["poll", "hang"]).await;
    bench.clock.advance(secs(10));
    let ticking = async {
        loop {
            tokio::task::yield_now().await;
            bench.clock.advance(secs(1));
        }
    };
    tokio::select! {
        () = bench.work() => {}
        () = ticking => {}
    }
    let record = bench.record().await;
    assert_eq!(record.err, "plugin schedule failed: the step took longer than its time limit of 60 s");
}

#[tokio::test]
async fn a_state_too_large_fails_with_size_and_limit() {
    let bench = Bench::new();
    bench.invoke(&["poll", "big"]).await;
    bench.pass(secs(10)).await;
    let record = bench.record().await;
    assert_eq!(record.state, State::Fail);
    assert!(record.err.contains("the limit is 409600"), "{}", record.err);
    let bench = Bench::new();
    let first = bench.invoke(&["big"]).await;
    assert!(first.err.unwrap().contains("the limit is 409600"));
}

#[tokio::test]
async fn an_authors_error_with_too_large_a_state_ends_too() {
    let bench = Bench::new();
    bench.invoke(&["poll", "big fail"]).await;
    bench.pass(secs(10)).await;
    let record = bench.record().await;
    assert_eq!((record.state, record.invoke_count), (State::Fail, 2));
    assert!(record.err.starts_with("plugin schedule failed: as asked ("), "{}", record.err);
    assert!(record.err.contains("the limit is 409600"), "{}", record.err);
}

#[tokio::test]
async fn a_hop_of_a_long_wait_that_was_received_too_often_ends_nothing() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.clock.advance(secs(900));
    let hop = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    assert_eq!(bench.engine.handle(&hop.message, 6).await, Handled::Delete);
    bench.store.delete(&hop.handle).await.unwrap();
    assert_eq!(bench.record().await.state, State::Poll);
    bench.pass(secs(2700)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn two_wake_ups_of_a_step_that_keeps_dying_do_not_keep_each_other_alive() {
    let bench = Bench::new();
    bench.invoke(&["callback", "done"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.call(json!(2)).await.unwrap();
    let mut deaths = 0;
    while bench.record().await.state == State::Callback {
        assert!(deaths < 20, "it runs for ever");
        for delivery in bench.store.receive(10, Duration::ZERO).await.unwrap() {
            let before = bench.record().await;
            let Message::WakeUp(wake_up) = &delivery.message else { continue };
            let dead = wake_up.crashes + delivery.receive_count > bench.engine.limits.max_receive_count;
            if !dead && !before.is_leased(bench.clock.now()) {
                // The runner claims, then its process dies.
                let lease = bench.engine.new_lease(bench.clock.now());
                bench.engine.claim(wake_up, &lease, bench.clock.now()).await.unwrap();
                deaths += 1;
            } else if bench.engine.handle(&delivery.message, delivery.receive_count).await == Handled::Delete
            {
                bench.store.delete(&delivery.handle).await.unwrap();
            }
        }
        bench.clock.advance(secs(5));
    }
    let record = bench.record().await;
    assert!(record.err.contains("started again and again"), "{}", record.err);
}

#[tokio::test]
async fn a_commit_that_was_made_but_reported_as_failed_is_not_repeated() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    let delivery = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    let Message::WakeUp(wake_up) = &delivery.message else { panic!("a wake-up") };
    let lease = bench.engine.new_lease(bench.clock.now());
    let Claim::Granted(mut record) = bench.engine.claim(wake_up, &lease, bench.clock.now()).await.unwrap()
    else {
        panic!("not claimed")
    };
    let ended = bench.engine.run_claimed(&mut record).await;
    let commit = bench.engine.commit_of(ended, &record, bench.clock.now());
    bench.store.commit(&bench.trace_id, &lease.token, &commit).await.unwrap();
    let again = Ended { next: Some(Next::done()), ..Ended::fail(String::new()) };
    let handled = bench.engine.send_and_commit(wake_up, again, &record, &lease).await.unwrap();
    assert_eq!(handled, Handled::Delete);
    bench.work().await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1, "the finish callback waits for nothing");
}

#[tokio::test]
async fn callbacks_without_end_are_refused() {
    let bench = Bench::new();
    bench.invoke(&["poll", "callback", "done"]).await;
    for number in 0..Record::LARGEST_INBOX {
        bench.call(json!(number)).await.unwrap();
    }
    let refused = bench.call(json!("one more")).await;
    assert!(
        matches!(refused, Err(CallbackError::Store(StoreError::InboxFull { limit: 1000 }))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn outputs_that_could_not_be_read_back_fail() {
    let bench = Bench::new();
    bench.invoke(&["poll", "deep"]).await;
    bench.pass(secs(10)).await;
    let record = bench.record().await;
    assert!(record.err.contains("outputs: nested deeper than 100 levels"), "{}", record.err);
    assert_eq!(record.outputs, json!({"trail": ["Invoked"]}));
}

#[tokio::test]
async fn a_step_that_keeps_dying_ends_in_fail() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    bench.claim_and_die(1).await;
    let message = bench.wake_up(1);
    assert_eq!(bench.engine.dead_letter(&message).await, Handled::Leave, "its runner may be alive");
    bench.clock.advance(bench.engine.limits.lease());
    assert_eq!(bench.engine.dead_letter(&message).await, Handled::Delete);
    let record = bench.record().await;
    assert_eq!(record.state, State::Fail);
    assert!(record.err.contains("step 2 was started again and again"), "{}", record.err);
    bench.work().await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_store_that_is_away_ends_nothing() {
    let bench = Bench::new();
    bench.invoke(&["poll", "poll", "done"]).await;
    bench.weather.failures.store(7, Ordering::Relaxed);
    bench.pass(secs(300)).await;
    assert_eq!(bench.record().await.state, State::Success);
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn finish_callbacks_are_retried_and_given_up() {
    let bench = Bench::new();
    bench.receiver.failures.store(3, Ordering::Relaxed);
    bench.invoke(&["poll", "done"]).await;
    bench.pass(secs(60)).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 4);

    let bench = Bench::new();
    bench.receiver.failures.store(1000, Ordering::Relaxed);
    bench.invoke(&["poll", "done"]).await;
    bench.pass(secs(100_000)).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 12);
    assert!(!bench.record().await.owed);
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn an_owed_finish_callback_is_sent_by_whoever_meets_the_record() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    // Runs and commits, then dies before it sends the finish callback and deletes the wake-up.
    let delivery = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    assert_eq!(bench.engine.handle(&delivery.message, delivery.receive_count).await, Handled::Delete);
    let finish = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    bench.store.delete(&finish.handle).await.unwrap();
    assert!(bench.record().await.owed);
    bench.pass(bench.engine.limits.visibility_timeout()).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1);
    assert!(!bench.record().await.owed);
}

#[tokio::test]
async fn a_version_that_went_away_ends_in_fail() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    let record = Record { plugin_version: "0.9.0".to_owned(), ..*bench.record().await };
    let other = Bench::new();
    other.store.create(&record, None).await.unwrap();
    let due_at = other.clock.now();
    let wake_up = WakeUp::for_step(record.trace_id.clone(), 1, due_at);
    assert_eq!(other.engine.handle(&Message::WakeUp(wake_up), 1).await, Handled::Delete);
    let record = other.store.read(&record.trace_id).await.unwrap().unwrap();
    assert_eq!(record.err, "plugin schedule failed: version 0.9.0 is not deployed any more");
}

#[tokio::test]
async fn an_unknown_version_is_no_invocation() {
    let bench = Bench::new();
    let unknown = bench.engine.invoke(TraceId::random(), "9.9.9", JsonObject::new(), JsonObject::new()).await;
    assert_eq!(unknown.unwrap_err().to_string(), "there is no version 9.9.9");
}
