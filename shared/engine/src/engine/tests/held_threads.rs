//! Steps that do not give their thread back, on real threads; the engine's time is set by hand all the same.

use std::sync::{Condvar, Mutex};

use super::*;

/// Closed at first. A thread that comes to it waits until it is open.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let _open = self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap();
    }
}

/// Its second step blocks at the gate.
struct Blocking {
    gate: Arc<Gate>,
    runs: Arc<AtomicU32>,
}

impl Plugin for Blocking {
    const META: Meta = Meta::version("2.0.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if let Event::Invoked = cx.event() {
            return Ok(Next::poll(secs(10)));
        }
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.gate.pass();
        Ok(Next::done())
    }
}

/// A bench with a version that blocks, after the first step of one invocation of it.
struct Held {
    bench: Bench,
    gate: Arc<Gate>,
    runs: Arc<AtomicU32>,
}

impl Held {
    async fn new(bound: usize) -> Self {
        let (gate, runs) = (Arc::new(Gate::default()), Arc::new(AtomicU32::new(0)));
        let project = Project::new("").version(Scripted);
        let project = project.version(Blocking { gate: gate.clone(), runs: runs.clone() });
        let held = Self { bench: Bench::of(project, Some(AuthorThreads::start(bound).unwrap())), gate, runs };
        assert_eq!(held.invoke(held.bench.trace_id.clone()).await.state, State::Poll);
        held
    }

    async fn invoke(&self, trace_id: TraceId) -> Invoked {
        let version = self.bench.engine.registry().version("2.0.0").unwrap();
        self.bench.call_engine().invoke(version, trace_id, Call::default()).await.unwrap()
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::Relaxed)
    }

    fn refuses(&self) -> bool {
        self.bench.engine.author_threads().unwrap().refused().is_some()
    }
}

/// Waits, in real time, for a fact.
async fn until(fact: impl Fn() -> bool) {
    let waits = async {
        while !fact() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waits).await.expect("it never comes");
}

#[tokio::test]
async fn a_step_that_holds_its_thread_fails_when_its_time_is_over() {
    let held = Held::new(8).await;
    held.bench.clock.advance(secs(10));
    let time_passes = async {
        until(|| held.runs() == 1).await;
        held.bench.clock.advance(secs(60));
    };
    futures::join!(held.bench.work(), time_passes);
    let record = held.bench.record().await;
    assert_eq!(record.err, "plugin schedule failed: the step took longer than its time limit of 60 s");
    held.gate.open();
}

#[tokio::test]
async fn a_step_that_is_still_running_is_not_started_again_and_counts_as_no_crash() {
    let held = Held::new(8).await;
    held.bench.clock.advance(secs(10));
    // Its end cannot be written, so its wake-up goes back into the queue.
    let outage = async {
        until(|| held.runs() == 1).await;
        held.bench.unreliable.failures.store(u32::MAX, Ordering::Relaxed);
        while held.bench.store.messages().iter().all(|message| message.put_backs() == 0) {
            held.bench.clock.advance(secs(1));
            tokio::task::yield_now().await;
        }
        held.bench.unreliable.failures.store(0, Ordering::Relaxed);
    };
    futures::join!(held.bench.work(), outage);
    held.bench.pass(secs(600)).await;
    assert_eq!((held.runs(), held.bench.record().await.state), (1, State::Poll));
    // However often it was received.
    let delivery = loop {
        held.bench.clock.advance(secs(1));
        if let Some(delivery) = held.bench.store.receive(1, Duration::ZERO).await.unwrap().pop() {
            break delivery;
        }
    };
    assert_eq!(held.bench.call_engine().handle(&delivery.message, 100).await, Handled::Delete);
    held.bench.store.delete(&delivery.handle).await.unwrap();
    let put_back = held.bench.store.messages();
    assert_eq!((put_back.len(), put_back[0].crashes(1)), (1, 0));
    // When its thread has come back, it runs again: its first end was lost.
    held.gate.open();
    until(|| !held.bench.engine.under_way.contains(&held.bench.trace_id)).await;
    held.bench.pass(secs(60)).await;
    assert_eq!((held.runs(), held.bench.record().await.state), (2, State::Success));
}

#[tokio::test]
async fn at_the_bound_a_version_is_left_to_other_processes_and_others_go_on() {
    let held = Held::new(1).await;
    let later = TraceId::random();
    held.bench.clock.advance(secs(9));
    held.invoke(later.clone()).await;
    held.bench.clock.advance(secs(1));
    let meanwhile = async {
        until(|| held.refuses()).await;
        let refused = held.invoke(TraceId::random()).await.err.unwrap();
        assert_eq!(
            refused,
            "plugin execute raise unexpected error: the step was not started: this process runs no more code of \
             version 2.0.0, which holds 1 of its threads without awaiting"
        );
        assert_eq!(held.bench.invoke(&["done"]).await.state, State::Success);
        held.bench.clock.advance(secs(9));
        held.bench.work().await;
        let record = held.bench.store.read(&later).await.unwrap().unwrap();
        assert!(record.lease.is_none(), "another process can claim at once");
        held.gate.open();
    };
    futures::join!(held.bench.work(), meanwhile);
    assert_eq!(held.bench.record().await.state, State::Success);
    until(|| !held.refuses()).await;
    held.bench.pass(secs(30)).await;
    assert_eq!(held.bench.store.read(&later).await.unwrap().unwrap().state, State::Success);
    assert_eq!(held.runs(), 2);
}

#[tokio::test]
async fn a_step_that_no_thread_starts_gives_its_lease_back() {
    let held = Held::new(1).await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(TraceId::random());
        held.invoke(others[others.len() - 1].clone()).await;
    }
    held.bench.clock.advance(secs(10));
    let due = held.bench.store.receive(1000, Duration::ZERO).await.unwrap();
    let handle = async |delivery: bk_plugin_core::queue::Delivery| {
        assert_eq!(held.bench.call_engine().handle(&delivery.message, 1).await, Handled::Delete);
        held.bench.store.delete(&delivery.handle).await.unwrap();
    };
    // All are claimed; more than there are threads.
    let all = futures::future::join_all(due.into_iter().map(handle));
    let meanwhile = async {
        until(|| held.bench.store.messages().iter().any(|message| message.put_backs() == 1)).await;
        held.gate.open();
    };
    futures::join!(all, meanwhile);
    until(|| !held.refuses()).await;
    for trace_id in &others {
        assert!(held.bench.store.read(trace_id).await.unwrap().unwrap().lease.is_none());
    }
    held.bench.pass(secs(5)).await;
    for trace_id in &others {
        let record = held.bench.store.read(trace_id).await.unwrap().unwrap();
        assert_eq!((record.state, record.invoke_count), (State::Success, 2));
    }
    assert_eq!(held.runs(), 101);
}

/// Panics when it is dropped, if it is to.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Explosive {
    armed: bool,
}

impl Drop for Explosive {
    fn drop(&mut self) {
        assert!(!self.armed, "in Drop");
    }
}

/// Panics in the drop of its future if it is polled, of its outputs otherwise.
struct Exploding;

impl Plugin for Exploding {
    const META: Meta = Meta::version("3.0.0");
    type Inputs = Empty;
    type Context = Context<Explosive>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if let Event::Invoked = cx.event() {
            return Ok(Next::poll(secs(10)));
        }
        let _of_future = Explosive { armed: true };
        std::future::pending().await
    }
}

/// Panics in the drop of its outputs.
struct ExplodingOutputs;

impl Plugin for ExplodingOutputs {
    const META: Meta = Meta::version("4.0.0");
    type Inputs = Empty;
    type Context = Context<Explosive>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.edit().armed = true;
        Ok(Next::done())
    }
}

#[tokio::test]
async fn a_panic_in_a_drop_ends_its_step_and_nothing_else() {
    for threads in [None, Some(AuthorThreads::start(2).unwrap())] {
        let bench = Bench::of(Project::new("").version(Exploding).version(ExplodingOutputs), threads);
        let invoke = async |version| {
            let version = bench.engine.registry().version(version).unwrap();
            bench.call_engine().invoke(version, bench.trace_id.clone(), Call::default()).await.unwrap()
        };
        let of_outputs = invoke("4.0.0").await.err.unwrap();
        assert_eq!(of_outputs, "plugin execute raise unexpected error: panicked: in Drop");
        invoke("3.0.0").await;
        bench.clock.advance(secs(10));
        let time_passes = async {
            until(|| bench.engine.under_way.contains(&bench.trace_id)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            bench.clock.advance(secs(60));
        };
        futures::join!(bench.work(), time_passes);
        let record = bench.record().await;
        assert_eq!(record.err, "plugin schedule failed: the step took longer than its time limit of 60 s");
        until(|| !bench.engine.under_way.contains(&bench.trace_id)).await;
        assert_eq!(invoke("4.0.0").await.err.unwrap(), of_outputs);
    }
}
