//! The state of one simulated world: the record, the queue, the clocks, the faults that are left, and what
//! has happened so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::Receipt;
use bk_plugin_core::queue::Message;
use bk_plugin_core::record::{Record, State};
use bk_plugin_engine::Limits;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::machines::Machines;
use crate::mutation::Mutation;
use crate::script::Script;

/// Where everything random comes from; the same numbers for the same seed in every release of its crate.
pub(crate) type Dice = Xoshiro256PlusPlus;

/// Most runners there are.
pub(crate) const RUNNERS: usize = 4;
/// Most callbacks that are accepted at once.
pub(crate) const CALLERS: usize = 3;
/// The process that `invoke` is called in.
pub(crate) const INVOKER: usize = RUNNERS;
/// The process that `schedule` is called in.
pub(crate) const READER: usize = RUNNERS + 1;
/// The first process that callbacks are called in.
pub(crate) const FIRST_CALLER: usize = RUNNERS + 2;
/// Processes in all.
pub(crate) const PROCESSES: usize = FIRST_CALLER + CALLERS;
/// Bytes of a record.
pub(crate) const LARGEST_RECORD: usize = 16 * 1024;
/// What two clocks may differ by, in milliseconds.
pub(crate) const SKEW: i64 = 5_000;
/// Deliveries after which an invocation that is left in peace has to be over.
const BOUND: usize = 1_500;
const EPOCH: i64 = 1_800_000_000_000;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before an effect.
    CrashBefore,
    /// The process dies after an effect.
    CrashAfter,
    /// The process dies in the middle of a step.
    CrashInStep,
    /// A call of a store does nothing and says so.
    Fails,
    /// A call of a store does what it should and says it did not.
    SeemsToFail,
    /// A call of a store takes long.
    Slow,
    /// The process stands still after an effect, for longer than a lease perhaps.
    Frozen,
    /// A store is away for a while.
    Away,
    /// A message is delivered to a second receiver.
    Duplicate,
    /// A message is delivered late.
    Delay,
    /// A message is delivered again after it was deleted.
    Repeat,
    /// A process' clock jumps.
    ClockStep,
    /// An HTTP caller hangs up.
    HangUp,
    /// The receiver of finish callbacks answers that it cannot.
    PostFails,
}

const EFFECT_FAULTS: [Fault; 8] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Fails,
    Fault::SeemsToFail,
    Fault::Slow,
    Fault::Frozen,
    Fault::Away,
    Fault::ClockStep,
];

/// How a world is to be run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the adapters do wrong on purpose.
    pub mutation: Option<Mutation>,
    /// Whether to write down what happens.
    pub trace: bool,
    /// Faults, counted as they would be made, that are not made.
    pub left_out: BTreeSet<u32>,
}

/// A message in the queue.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) id: u64,
    pub(crate) message: Message,
    pub(crate) visible_at: i64,
    pub(crate) receive_count: u32,
}

/// One call of a callback URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) sent_at: i64,
    /// Status and time.
    pub(crate) answered: Option<(u16, i64)>,
    pub(crate) appended_at: Option<i64>,
}

/// One committed step.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) count: u32,
    pub(crate) state: State,
    pub(crate) err: String,
    pub(crate) outputs: Value,
    /// The callback that the step was given.
    pub(crate) call: Option<usize>,
    pub(crate) claimed_at: i64,
    /// When `execute` came to its end, in the run that was written.
    pub(crate) ended_at: i64,
    /// When it came to its end in the first run: that one's wake-up is as good as the later ones'.
    pub(crate) first_ended_at: i64,
}

/// The state of one simulated world.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) options: Options,
    pub(crate) script: Script,
    pub(crate) runners: usize,
    start: Instant,
    offsets: [i64; PROCESSES],
    pub(crate) dead: [bool; PROCESSES],
    pub(crate) busy_process: [bool; PROCESSES],
    // Faults.
    rate: u32,
    enabled: u32,
    budget: u32,
    faults_until: i64,
    offered: u32,
    pub(crate) made: Vec<u32>,
    pub(crate) crashes: u32,
    pub(crate) table_away_until: i64,
    pub(crate) queue_away_until: i64,
    pub(crate) old_handles_work: bool,
    pub(crate) latency: u64,
    // The stores.
    pub(crate) record: Option<Record>,
    pub(crate) messages: Vec<Stored>,
    pub(crate) next_message: u64,
    pub(crate) deferred: [Vec<(Message, Duration)>; PROCESSES],
    pub(crate) handling: [Option<Stored>; PROCESSES],
    pub(crate) committed_now: [bool; PROCESSES],
    // What has happened.
    pub(crate) calls: Vec<Call>,
    pub(crate) tokens: Vec<String>,
    pub(crate) appended: Vec<usize>,
    pub(crate) committed: Vec<Committed>,
    pub(crate) claimed_at: [i64; PROCESSES],
    pub(crate) ended_at: [i64; PROCESSES],
    pub(crate) first_ended_at: BTreeMap<usize, i64>,
    /// The lease as the world sees it: holder and end.
    pub(crate) lease: Option<(usize, Timestamp)>,
    pub(crate) posts: u32,
    pub(crate) posts_taken: u32,
    pub(crate) dead_letters: Vec<u32>,
    pub(crate) gone: bool,
    pub(crate) deliveries: usize,
    quiet: usize,
    pub(crate) busy: usize,
    pub(crate) final_calls: usize,
    receipts: Vec<Receipt>,
    /// State of the answer to `invoke`, if there was one with status 200.
    pub(crate) invoked: Option<Value>,
    /// What `schedule` has shown of the end.
    pub(crate) shown_end: Option<Value>,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let mut dice = Dice::seed_from_u64(seed);
        let script = Script::draw(&mut dice);
        let runners = dice.random_range(1..=RUNNERS);
        let skewed = dice.random_ratio(1, 2);
        let mut offsets = [0; PROCESSES];
        if skewed {
            offsets.fill_with(|| dice.random_range(-SKEW / 2..=SKEW / 2));
        }
        Self {
            rate: [4, 10, 30, 80, 200][dice.random_range(0..5)],
            enabled: dice.random::<u32>() | dice.random::<u32>(),
            budget: [0, 1, 1, 2, 3, 5, 8, 12][dice.random_range(0..8)],
            faults_until: [20_000, 200_000, 2_000_000][dice.random_range(0..3)],
            old_handles_work: dice.random_ratio(1, 2),
            latency: [3, 30, 300][dice.random_range(0..3)],
            dice,
            options,
            script,
            runners,
            start: Instant::now(),
            offsets,
            dead: [false; PROCESSES],
            busy_process: [false; PROCESSES],
            offered: 0,
            made: Vec::new(),
            crashes: 0,
            table_away_until: 0,
            queue_away_until: 0,
            record: None,
            messages: Vec::new(),
            next_message: 1,
            deferred: Default::default(),
            handling: Default::default(),
            committed_now: [false; PROCESSES],
            calls: Vec::new(),
            tokens: Vec::new(),
            appended: Vec::new(),
            committed: Vec::new(),
            claimed_at: [0; PROCESSES],
            ended_at: [0; PROCESSES],
            first_ended_at: BTreeMap::new(),
            lease: None,
            posts: 0,
            posts_taken: 0,
            dead_letters: Vec::new(),
            gone: false,
            deliveries: 0,
            quiet: 0,
            busy: 0,
            final_calls: 0,
            receipts: Vec::new(),
            invoked: None,
            shown_end: None,
            violation: None,
            trace: Vec::new(),
        }
    }

    /// Milliseconds since the world began, by no process' clock.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// What a process' clock shows.
    pub(crate) fn shown(&self, process: usize) -> Timestamp {
        Timestamp::from_millis(EPOCH + self.now() + self.offsets[process])
    }

    pub(crate) fn is_mutated(&self, mutation: Mutation) -> bool {
        self.options.mutation == Some(mutation)
    }

    /// Writes down what happened, if anyone wants to read it.
    pub(crate) fn note(&mut self, process: usize, what: impl FnOnce(&mut Self) -> String) {
        if !self.options.trace {
            return;
        }
        let what = what(self);
        let who = match process {
            INVOKER => "invoke  ".to_owned(),
            READER => "schedule".to_owned(),
            caller if (FIRST_CALLER..PROCESSES).contains(&caller) => {
                format!("caller {}", caller - FIRST_CALLER + 1)
            }
            runner if runner < RUNNERS => format!("runner {}", runner + 1),
            _ => "world   ".to_owned(),
        };
        let now = Duration::from_millis(u64::try_from(self.now()).unwrap_or(0));
        self.trace.push(format!("{:>10.3}s  {who}  {what}", now.as_secs_f64()));
    }

    /// A message as the trace shows it: without random identifiers.
    pub(crate) fn show(&mut self, message: &Message) -> String {
        match message {
            Message::Finish(finish) => format!("finish message (attempt {})", finish.attempt),
            Message::WakeUp(wake_up) => {
                let due = wake_up.due_at.as_millis() - EPOCH;
                let put_backs = wake_up.put_backs;
                match &wake_up.receipt {
                    Some(receipt) => {
                        let receipt = self.ordinal(receipt);
                        format!("wake-up for receipt {receipt} (due {due} ms, put back {put_backs})")
                    }
                    None => {
                        format!("wake-up after {} (due {due} ms, put back {put_backs})", wake_up.after_step)
                    }
                }
            }
        }
    }

    pub(crate) fn ordinal(&mut self, receipt: &Receipt) -> usize {
        let known = self.receipts.iter().position(|known| known == receipt);
        known.unwrap_or_else(|| {
            self.receipts.push(receipt.clone());
            self.receipts.len() - 1
        })
    }

    /// Notes the first thing that is wrong.
    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.violation.is_none() {
            self.note(usize::MAX, |_| format!("VIOLATION: {what}"));
            self.violation = Some(what);
        }
    }

    /// Whether this fault is made now.
    pub(crate) fn fault(&mut self, process: usize, fault: Fault) -> bool {
        self.dice.random_ratio(1, self.rate) && self.make(process, fault)
    }

    /// Which fault befalls an effect now.
    pub(crate) fn effect_fault(&mut self, process: usize) -> Option<Fault> {
        if !self.dice.random_ratio(1, self.rate) {
            return None;
        }
        let fault = EFFECT_FAULTS[self.dice.random_range(0..EFFECT_FAULTS.len())];
        self.make(process, fault).then_some(fault)
    }

    fn make(&mut self, process: usize, fault: Fault) -> bool {
        let full = self.made.len() >= self.budget as usize;
        if full || self.now() > self.faults_until || self.enabled & (1 << (fault as u32)) == 0 {
            return false;
        }
        let number = self.offered;
        self.offered += 1;
        if self.options.left_out.contains(&number) {
            return false;
        }
        self.made.push(number);
        self.quiet = 0;
        self.note(process, |_| format!("FAULT {number}: {fault:?}"));
        true
    }

    pub(crate) fn step_clock(&mut self, process: usize) {
        self.offsets[process] = self.dice.random_range(-SKEW / 2..=SKEW / 2);
        let offset = self.offsets[process];
        self.note(process, |_| format!("the clock is now {offset} ms off"));
    }

    /// The process dies: what it does goes no further.
    pub(crate) fn kill(&mut self, process: usize) {
        self.dead[process] = true;
        self.deferred[process].clear();
        self.crashes += 1;
        self.note(process, |_| "dies".to_owned());
    }

    pub(crate) fn count_delivery(&mut self) {
        self.deliveries += 1;
        self.quiet += 1;
        if self.quiet > BOUND {
            self.violate("termination: deliveries go on and on, though nothing fails any more");
        }
    }

    /// From now on nothing fails.
    pub(crate) fn calm(&mut self) {
        self.faults_until = -1;
        (self.table_away_until, self.queue_away_until) = (0, 0);
    }

    /// Something from outside asks for more work.
    pub(crate) fn disturb(&mut self) {
        self.quiet = 0;
    }

    /// Promise 1, and the half of promise 5 that is like it: at every moment, whoever is unfinished has
    /// something in the queue that wakes it, or waits for a callback; whoever owes has a message.
    pub(crate) fn check_wakeable(&mut self) {
        let Some(record) = &self.record else { return };
        let mut wake_ups = self.messages.iter().filter_map(|stored| match &stored.message {
            Message::WakeUp(wake_up) => Some(wake_up),
            Message::Finish(_) => None,
        });
        let inbox = &record.inbox;
        let count = record.invoke_count;
        let wakes_step = |wake_up: &bk_plugin_core::queue::WakeUp| {
            wake_up.receipt.is_none() && wake_up.after_step == count
        };
        let lost = match record.state {
            State::Empty => None,
            State::Poll => (!wake_ups.any(wakes_step)).then_some("P1: polls, and no wake-up is in the queue"),
            State::Callback if !inbox.is_empty() => {
                let called = |wake_up: &bk_plugin_core::queue::WakeUp| match &wake_up.receipt {
                    Some(receipt) => inbox.iter().any(|entry| entry.receipt == *receipt),
                    None => wakes_step(wake_up),
                };
                (!wake_ups.any(called)).then_some("P1/P3: a callback waits, and no wake-up is in the queue")
            }
            State::Callback => (record.deadline.is_some() && !wake_ups.any(wakes_step))
                .then_some("P1: waits until a deadline, and no wake-up is in the queue"),
            State::Success | State::Fail => (record.owed && self.messages.is_empty())
                .then_some("P5: owes its finish callback, and no message is in the queue"),
        };
        if let Some(lost) = lost {
            self.violate(lost);
        }
    }
}

/// What everything in a world shares. It outlives the world: engines and routes are made once a thread.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Default)]
struct Inner {
    world: Mutex<Option<World>>,
    routes: OnceLock<Machines>,
    /// Something came into the queue.
    pub(crate) queue: Notify,
    /// Nothing is left to be done, or something is wrong.
    pub(crate) idle: Notify,
    /// A process died.
    pub(crate) died: [Notify; PROCESSES],
}

impl Shared {
    pub(crate) fn begin(&self, world: World) {
        *self.lock() = Some(world);
    }

    pub(crate) fn end(&self) -> Option<World> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<World>> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the world or changes it.
    #[allow(clippy::expect_used, reason = "nothing runs between worlds: the runtime is gone by then")]
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let world = world.as_mut().expect("there is a world while anything runs in it");
        let seen = look(world);
        if world.violation.is_some() || (world.busy == 0 && world.messages.is_empty()) {
            self.0.idle.notify_one();
        }
        seen
    }

    /// The engines and routes of every process.
    pub(crate) fn machines(&self) -> &Machines {
        self.0.routes.get_or_init(|| Machines::new(self))
    }

    pub(crate) fn queue(&self) -> &Notify {
        &self.0.queue
    }

    pub(crate) fn idle(&self) -> &Notify {
        &self.0.idle
    }

    pub(crate) fn died(&self, process: usize) -> &Notify {
        &self.0.died[process]
    }

    pub(crate) fn kill(&self, process: usize) {
        self.with(|world| world.kill(process));
        self.died(process).notify_one();
    }
}

/// The engine's limits in every world.
pub(crate) fn limits() -> Limits {
    Limits::default()
}
