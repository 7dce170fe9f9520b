//! A process of a crowd, from its start to its death.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{FinishCallback, State};
use bk_plugin_engine::callback_token::CallbackKeys;
use bk_plugin_engine::worker::{Worker, WorkerOptions};
use bk_plugin_engine::{Call, CallContext, Engine, EngineParts, FinishCallbackClient, Limits, PostError};
use bk_plugin_kit::prelude::*;
use serde_json::json;
use tokio::time::sleep;

use super::ports::Ports;
use super::{Crowd, LONGEST_RESTART, Member, Visitor, locked};

pub(super) struct Process {
    pub(super) crowd: Arc<Crowd>,
    number: usize,
    dead: AtomicBool,
    /// The author code under way: steps, by their invocation, and visitors.
    under_way: Mutex<Vec<Option<TraceId>>>,
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Process {
    pub(super) fn start(crowd: &Arc<Crowd>, number: usize) -> Arc<Self> {
        let process = Arc::new(Self {
            crowd: Arc::clone(crowd),
            number,
            dead: AtomicBool::new(false),
            under_way: Mutex::default(),
            engine: Mutex::default(),
        });
        let ports = Arc::new(Ports::new(&process));
        let engine = Arc::new(process.make_engine(&ports));
        *locked(&process.engine) = Some(Arc::clone(&engine));
        let worker = Worker::new(
            engine,
            ports,
            WorkerOptions { concurrency: crowd.plan.concurrency, guaranteed: None },
        );
        tokio::spawn(worker.run(std::future::pending()));
        process
    }

    #[allow(clippy::expect_used, reason = "keys and versions are constants that are right")]
    fn make_engine(self: &Arc<Self>, ports: &Arc<Ports>) -> Engine {
        let limits = Limits::default();
        let keys = CallbackKeys::new("secret of the simulation", &[], limits.keep_finished);
        let project = Project::new("").version(Working { process: Arc::clone(self) });
        Engine::new(EngineParts {
            registry: Arc::new(project.build().expect("one version")),
            table: ports.clone(),
            queue: ports.clone(),
            clock: self.crowd.clock.clone(),
            finish_callbacks: Arc::new(NoOne),
            keys: Arc::new(keys.expect("no key of the operator's own is given")),
            callback_base: "http://plugin.test/bk_plugin".to_owned(),
            limits,
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        locked(&self.engine).clone()
    }

    /// Never returns in a dead process.
    pub(super) async fn goes_on(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Dies, with everything that is under way, and is started again.
    pub(super) fn die(&self, of: &str) {
        if self.dead.swap(true, Ordering::Relaxed) {
            return;
        }
        let under_way = locked(&self.under_way).clone();
        let (crowd, number) = (Arc::clone(&self.crowd), self.number);
        crowd.note(|| format!("process {number} dies with {under_way:?}: {of}"));
        {
            let mut account = crowd.account();
            account.deaths += 1;
            if let [Some(only)] = &under_way[..] {
                *account.deaths_alone.entry(only.clone()).or_default() += 1;
            }
        }
        tokio::spawn(async move {
            sleep(crowd.time(LONGEST_RESTART)).await;
            let process = Self::start(&crowd, number);
            locked(&crowd.processes)[number] = process;
        });
    }

    pub(super) async fn invoke(self: Arc<Self>, member: Member) {
        let Some(engine) = self.engine() else { return };
        let Some(version) = engine.registry().version("1.0.0") else { return };
        let trace_id = TraceId::random();
        let inputs = json!({
            "is_guilty": member.is_guilty,
            "millis": u64::try_from(member.step.as_millis()).unwrap_or(u64::MAX),
            "steps": member.steps,
        });
        let call = Call { inputs: inputs.as_object().cloned().unwrap_or_default(), ..Call::default() };
        let call = engine.for_call(CallContext::default()).invoke(version, trace_id.clone(), call);
        if let Ok(invoked) = call.await
            && invoked.state == State::Poll
        {
            self.crowd.disturb();
            self.crowd.account().invoked.insert(trace_id.clone(), member);
            self.crowd.note(|| format!("{trace_id} begins: {member:?}"));
        }
    }

    pub(super) async fn visit(self: Arc<Self>, visitor: Visitor) {
        let Some(engine) = self.engine() else { return };
        let entered = engine.enter().await;
        self.goes_on().await;
        self.crowd.disturb();
        let under_way = self.begin(None);
        sleep(visitor.stays).await;
        if visitor.kills {
            self.die("a visitor kills it");
        }
        self.goes_on().await;
        drop((under_way, entered));
    }

    fn begin(&self, what: Option<TraceId>) -> UnderWay<'_> {
        locked(&self.under_way).push(what.clone());
        UnderWay { process: self, what }
    }
}

/// Author code that is under way, until it is dropped.
struct UnderWay<'a> {
    process: &'a Process,
    what: Option<TraceId>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = locked(&self.process.under_way);
        if let Some(at) = under_way.iter().position(|what| *what == self.what) {
            under_way.swap_remove(at);
        }
    }
}

struct Working {
    process: Arc<Process>,
}

#[derive(Deserialize, JsonSchema)]
struct Inputs {
    is_guilty: bool,
    millis: u64,
    steps: u32,
}

impl Plugin for Working {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Inputs;
    type Context = Context;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let process = &self.process;
        process.goes_on().await;
        if matches!(cx.event(), Event::Invoked) {
            return Ok(Next::poll(process.crowd.time(10_000)));
        }
        let (trace_id, step) = (cx.trace_id().clone(), cx.invoke_count());
        let under_way = process.begin(Some(trace_id.clone()));
        process.crowd.note(|| format!("process {} runs step {step} of {trace_id}", process.number));
        sleep(Duration::from_millis(inputs.millis)).await;
        process.goes_on().await;
        if inputs.is_guilty {
            *process.crowd.account().killed.entry(trace_id.clone()).or_default() += 1;
            process.die("of a guilty step");
            process.goes_on().await;
        }
        drop(under_way);
        Ok(if step <= inputs.steps { Next::poll(process.crowd.time(5_000)) } else { Next::done() })
    }
}

/// Receives no finish callback.
struct NoOne;

#[async_trait]
impl FinishCallbackClient for NoOne {
    async fn post(&self, _: &FinishCallback, _: &Caller) -> Result<(), PostError> {
        Ok(())
    }
}
