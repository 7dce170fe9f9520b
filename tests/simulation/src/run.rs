//! Runs one world from its seed to its end.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use bk_plugin_core::queue::Queue as _;
use bk_plugin_core::record::State;
use bk_plugin_engine::{CallContext, Handled};
use futures::FutureExt as _;
use futures::future::{Either, select};
use rand::RngExt as _;

use crate::model;
use crate::outside;
use crate::ports::Ports;
use crate::world::{Options, Shared, World};

/// A time longer than any world may take.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);
/// Most callbacks sent to an invocation that still waits for one when all else is over.
const MOST_FINAL_CALLS: usize = 40;

/// The result of a world.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed of the world.
    pub seed: u64,
    /// The promise that does not hold, if any.
    pub violation: Option<String>,
    /// The faults that were made, by number.
    pub faults: Vec<u32>,
    /// Number of committed steps.
    pub steps: usize,
    /// Number of received messages.
    pub deliveries: usize,
    /// The trace, if one was wanted.
    pub trace: Vec<String>,
}

thread_local! {
    static SHARED: Shared = Shared::default();
}

/// Runs the world of a seed.
///
/// # Panics
///
/// If a runtime cannot be made.
#[allow(clippy::expect_used, reason = "a runtime without I/O needs nothing from the system")]
pub fn run(seed: u64, options: Options) -> Outcome {
    let shared = SHARED.with(Clone::clone);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O can be made");
    runtime.block_on(async {
        shared.begin(World::new(seed, options));
        drive(&shared).await;
    });
    drop(runtime);
    let world = shared.end().expect("the world was begun above");
    Outcome {
        seed,
        violation: world.violation,
        faults: world.made,
        steps: world.committed.len(),
        deliveries: world.deliveries,
        trace: world.trace,
    }
}

/// Runs the failing world of a seed with as few faults as it needs to fail, and records a trace.
pub fn minimal(seed: u64, options: &Options) -> Outcome {
    let attempt = |left_out: &BTreeSet<u32>| {
        run(seed, Options { trace: true, left_out: left_out.clone(), ..options.clone() })
    };
    let mut left_out = BTreeSet::new();
    let mut best = attempt(&left_out);
    'smaller: while best.violation.is_some() {
        for fault in best.faults.clone() {
            let mut without = left_out.clone();
            without.insert(fault);
            let tried = attempt(&without);
            if tried.violation.is_some() && tried.faults.len() < best.faults.len() {
                (best, left_out) = (tried, without);
                continue 'smaller;
            }
        }
        break;
    }
    best
}

enum Then {
    GoOn,
    Call(String),
    Stop,
}

async fn drive(shared: &Shared) {
    // Consumes a permit that the previous world left.
    let _ = shared.idle().notified().now_or_never();
    let runners = shared.with(|world| {
        let script = world.script.clone();
        world.note(usize::MAX, |_| format!("{script:?}"));
        world.runners
    });
    outside::invoke(shared);
    outside::ask(shared);
    for process in 0..runners {
        tokio::spawn(work(Ports { shared: shared.clone(), process }));
    }
    loop {
        if tokio::time::timeout(FOR_EVER, shared.idle().notified()).await.is_err() {
            shared.with(|world| world.violate("P4: something hangs for ever"));
        }
        match shared.with(what_then) {
            Then::GoOn => {}
            Then::Call(token) => outside::call_later(shared, token, 0),
            Then::Stop => break,
        }
    }
    if shared.with(|world| world.violation.is_none()) {
        shared.with(|world| {
            world.calm();
            if world.releases.are_two() {
                world.releases.end_with_newer();
            }
        });
        let shown = outside::schedule(shared).await;
        shared.with(|world| {
            if let Err(violation) = model::check(world, shown.as_ref()) {
                world.violate(violation);
            }
        });
    }
}

fn what_then(world: &mut World) -> Then {
    if world.violation.is_some() {
        return Then::Stop;
    }
    if world.busy > 0 || !world.messages.is_empty() {
        return Then::GoOn;
    }
    match world.record.as_ref().map(|record| record.state) {
        Some(State::Callback) => {
            world.final_calls += 1;
            if world.final_calls > MOST_FINAL_CALLS {
                world.violate("termination: callbacks do not bring it to its end");
                return Then::Stop;
            }
            world.tokens.last().map_or(Then::Stop, |token| Then::Call(token.clone()))
        }
        _ => Then::Stop,
    }
}

/// A runner: receives, handles and deletes messages, and is started again when it dies.
async fn work(ports: Ports) {
    let (shared, process) = (ports.shared.clone(), ports.process);
    loop {
        wait_for_message(&shared).await;
        shared.with(|world| {
            world.dead[process] = false;
            world.busy += 1;
        });
        let _ = shared.died(process).notified().now_or_never();
        let died = matches!(
            select(pin!(handle_one(&ports)), pin!(shared.died(process).notified())).await,
            Either::Right(_)
        );
        let pause = shared.with(|world| {
            world.handling[process] = None;
            world.deferred[process].clear();
            world.busy -= 1;
            if died { world.dice.random_range(10..5_000) } else { 0 }
        });
        if died {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

async fn wait_for_message(shared: &Shared) {
    loop {
        let due = shared.with(|world| {
            let now = world.now();
            world.messages.iter().map(|stored| stored.visible_at - now).min()
        });
        let sent = shared.queue().notified();
        match due.map(u64::try_from) {
            None => sent.await,
            Some(Ok(millis)) if millis > 0 => {
                // A message came or the time passed: the loop looks again in both cases.
                let _ = tokio::time::timeout(Duration::from_millis(millis), sent).await;
            }
            Some(_) => return,
        }
    }
}

async fn handle_one(ports: &Ports) {
    let (shared, process) = (&ports.shared, ports.process);
    let delivery = match ports.receive_one().await {
        Ok(Some(delivery)) => delivery,
        Ok(None) => return,
        Err(_) => return tokio::time::sleep(Duration::from_secs(1)).await,
    };
    let gone = shared.with(|world| world.gone);
    let engine = &shared.machines().runners[process][usize::from(gone)];
    let handled =
        engine.for_call(CallContext::default()).handle(&delivery.message, delivery.receive_count).await;
    if handled == Handled::Leave {
        shared.with(|world| world.note(process, |_| "leaves the message".to_owned()));
        return;
    }
    for _ in 0..5 {
        if ports.delete(&delivery.handle).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
