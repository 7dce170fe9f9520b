//! No version waits for another's backlog, and no step for a host that does not answer. The clock moves so little that no
//! time limit ends what blocks.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bk_plugin_core::memory::{ManualClock, MemoryStore};
use bk_plugin_core::queue::Queue;
use bk_plugin_core::record::FinishCallback;
use bk_plugin_core::table::Table;
use bk_plugin_core::{JsonObject, ids::TraceId};
use bk_plugin_engine::callback_token::CallbackKeys;
use bk_plugin_engine::worker::{Worker, WorkerOptions};
use bk_plugin_engine::{Call, CallContext, Engine, EngineParts, FinishCallbackClient, Limits, PostError};
use bk_plugin_kit::prelude::*;
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// How far the clock moves when nothing has begun for as long.
const MOMENT: Duration = Duration::from_millis(10);

/// What has begun, by name.
type Begun = UnboundedSender<&'static str>;

/// A version whose second step waits until the gate is open.
struct Slow {
    begun: Begun,
    gate: Arc<Semaphore>,
}

impl Plugin for Slow {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if matches!(cx.event(), Event::Invoked) {
            return Ok(Next::poll(secs(1)));
        }
        self.begun.send("slow step").or_unexpected()?;
        let _open = self.gate.acquire().await.or_unexpected()?;
        Ok(Next::done())
    }
}

/// A version that ends in its second step.
struct Quick {
    begun: Begun,
}

impl Plugin for Quick {
    const META: Meta = Meta::version("2.0.0").enable_plugin_callback();
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if matches!(cx.event(), Event::Invoked) {
            return Ok(Next::poll(secs(1)));
        }
        self.begun.send("quick step").or_unexpected()?;
        Ok(Next::done())
    }
}

/// Posts reach `good.test`. `silent.test` does not answer until the gate is open.
struct Posts {
    begun: Begun,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl FinishCallbackClient for Posts {
    async fn post(&self, finish_callback: &FinishCallback, _: &Caller) -> std::result::Result<(), PostError> {
        if finish_callback.url.contains("silent.test") {
            self.begun.send("silent post").unwrap();
            let _open = self.gate.acquire().await.unwrap();
        } else {
            self.begun.send("good post").unwrap();
        }
        Ok(())
    }
}

/// A worker with 16 slots for steps, which has not begun.
struct World {
    clock: Arc<ManualClock>,
    engine: Arc<Engine>,
    queue: Arc<dyn Queue>,
    gate: Arc<Semaphore>,
    begun: UnboundedReceiver<&'static str>,
    _folder: tempfile::TempDir,
}

/// A table and a queue.
trait Store: Table + Queue + 'static {}
impl<S: Table + Queue + 'static> Store for S {}

impl World {
    fn in_memory() -> Self {
        let (clock, limits) = (Arc::new(ManualClock::default()), Limits::default());
        let store = Arc::new(MemoryStore::new(clock.clone(), limits.visibility_timeout()));
        Self::on(store, clock, tempfile::tempdir().unwrap())
    }

    async fn on_sqlite() -> Self {
        let (clock, folder) = (Arc::new(ManualClock::default()), tempfile::tempdir().unwrap());
        let options = SqliteOptions { clock: Some(clock.clone()), ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("a.db"), options).await.unwrap();
        Self::on(Arc::new(store), clock, folder)
    }

    fn on<S: Store>(store: Arc<S>, clock: Arc<ManualClock>, folder: tempfile::TempDir) -> Self {
        let (tell, begun) = unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let project = Project::new("for tests")
            .version(Slow { begun: tell.clone(), gate: Arc::clone(&gate) })
            .version(Quick { begun: tell.clone() });
        let queue: Arc<dyn Queue> = store.clone();
        let engine = Engine::new(EngineParts {
            registry: Arc::new(project.build().unwrap()),
            table: store,
            queue: Arc::clone(&queue),
            clock: clock.clone(),
            finish_callbacks: Arc::new(Posts { begun: tell, gate: Arc::clone(&gate) }),
            keys: Arc::new(CallbackKeys::new("secret of the tests", &[], Duration::from_hours(24)).unwrap()),
            callback_base: "http://plugin.test/bk_plugin".to_owned(),
            limits: Limits::default(),
        });
        Self { clock, engine: Arc::new(engine), queue, gate, begun, _folder: folder }
    }

    /// Begins invocations whose second step is due when the time has moved.
    async fn invoke(&self, count: usize, version: &str, finish_callback: Option<&str>) {
        let version = self.engine.registry().version(version).unwrap();
        let mut context = JsonObject::new();
        if let Some(url) = finish_callback {
            context.insert("plugin_callback_info".to_owned(), serde_json::json!({"url": url, "data": {}}));
        }
        for _ in 0..count {
            let call = Call { context: context.clone(), ..Call::default() };
            let engine = self.engine.for_call(CallContext::default());
            engine.invoke(version, TraceId::random(), call).await.unwrap();
        }
    }

    /// Lets all that is due be worked on.
    fn work(&self) -> Running {
        self.clock.advance(Duration::from_secs(1));
        let options = WorkerOptions { concurrency: 16, guaranteed: None };
        let worker = Worker::new(Arc::clone(&self.engine), Arc::clone(&self.queue), options);
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = tokio::spawn(worker.run(async { drop(stopped.await) }));
        Running { stop, worker }
    }

    /// Waits until each of these has begun this often. Returns what has begun until then.
    async fn wait_for(&mut self, wanted: &[(&str, usize)]) -> Vec<&'static str> {
        let mut begun = Vec::new();
        let is_there = |begun: &[&str]| {
            wanted.iter().all(|(name, count)| begun.iter().filter(|other| other == &name).count() >= *count)
        };
        let until = Instant::now() + Duration::from_secs(20);
        while !is_there(&begun) {
            assert!(Instant::now() < until, "{wanted:?} is wanted, and only this has begun: {begun:?}");
            if let Ok(name) = tokio::time::timeout(MOMENT, self.begun.recv()).await {
                begun.push(name.unwrap());
            } else {
                // A finish callback's message that came before the commit it was sent for has been put back.
                self.clock.advance(MOMENT);
            }
        }
        begun
    }
}

/// A worker at work.
struct Running {
    stop: oneshot::Sender<()>,
    worker: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), self.worker).await.expect("it stops").unwrap();
    }
}

/// 64 slow steps of one version, then one of another, have 16 slots. Then again, with every slot used that the slow
/// version may have.
async fn a_step_does_not_wait_for_the_backlog_of_another_version(mut world: World) {
    world.invoke(64, "1.0.0", None).await;
    world.invoke(1, "2.0.0", None).await;
    let worker = world.work();
    // A quarter of the slots is guaranteed to each of the two.
    world.wait_for(&[("slow step", 12), ("quick step", 1)]).await;
    for _ in 0..10 {
        world.invoke(1, "2.0.0", None).await;
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.wait_for(&[("quick step", 1)]).await, ["quick step"], "no slow step has ended");
    }
    world.gate.add_permits(64);
    world.wait_for(&[("slow step", 52)]).await;
    worker.stop().await;
}

/// 64 finish callbacks to a host that never answers, one to another host, and a step.
async fn nothing_waits_for_a_host_that_does_not_answer(mut world: World) {
    world.invoke(64, "2.0.0", Some("http://silent.test/finished/")).await;
    let worker = world.work();
    world.wait_for(&[("quick step", 64), ("silent post", 32)]).await;
    world.invoke(1, "2.0.0", Some("http://good.test/finished/")).await;
    world.clock.advance(Duration::from_secs(1));
    let begun = world.wait_for(&[("quick step", 1), ("good post", 1)]).await;
    assert_eq!(begun.len(), 2, "no further post to the silent host: {begun:?}");
    world.gate.add_permits(64);
    world.wait_for(&[("silent post", 32)]).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_step_does_not_wait_for_the_backlog_of_another_version_in_memory() {
    a_step_does_not_wait_for_the_backlog_of_another_version(World::in_memory()).await;
}

#[tokio::test]
async fn a_step_does_not_wait_for_the_backlog_of_another_version_on_sqlite() {
    a_step_does_not_wait_for_the_backlog_of_another_version(World::on_sqlite().await).await;
}

#[tokio::test]
async fn nothing_waits_for_a_host_that_does_not_answer_in_memory() {
    nothing_waits_for_a_host_that_does_not_answer(World::in_memory()).await;
}

#[tokio::test]
async fn nothing_waits_for_a_host_that_does_not_answer_on_sqlite() {
    nothing_waits_for_a_host_that_does_not_answer(World::on_sqlite().await).await;
}
