//! The state of one simulated world: the record, the queue, the clocks, the remaining faults, and the events
//! so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt};
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
use crate::releases::Releases;
use crate::script::Script;

/// The source of all randomness. A seed gives the same numbers in every release of the crate.
pub(crate) type Dice = Xoshiro256PlusPlus;

/// Largest number of runners.
pub(crate) const RUNNERS: usize = 4;
/// Largest number of callback requests handled at once.
pub(crate) const CALLERS: usize = 3;
/// The process that serves `invoke`.
pub(crate) const INVOKER: usize = RUNNERS;
/// The process that serves `schedule`.
pub(crate) const READER: usize = RUNNERS + 1;
/// The first of the processes that serve callbacks.
pub(crate) const FIRST_CALLER: usize = RUNNERS + 2;
/// Number of processes.
pub(crate) const PROCESSES: usize = FIRST_CALLER + CALLERS;
/// The largest size of a record, in bytes.
pub(crate) const LARGEST_RECORD: usize = 16 * 1024;
/// The largest difference between two clocks, in milliseconds.
pub(crate) const SKEW: i64 = 5_000;
/// Number of deliveries within which an invocation must be over once nothing disturbs it.
const BOUND: usize = 1_500;
const EPOCH: i64 = 1_800_000_000_000;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before an effect.
    CrashBefore,
    /// The process dies after an effect.
    CrashAfter,
    /// The process dies in the middle of a step.
    CrashInStep,
    /// A call of a store has no effect and returns an error.
    Fails,
    /// A call of a store has its effect but returns an error.
    SeemsToFail,
    /// A call of a store takes long.
    Slow,
    /// The process is frozen after an effect, possibly for longer than a lease.
    Frozen,
    /// A store is unavailable for a while.
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
    /// The receiver of finish callbacks answers with an error.
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

/// Options for the run of a world.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The deliberate fault in the adapters, if any.
    pub mutation: Option<Mutation>,
    /// Whether to record a trace.
    pub trace: bool,
    /// Numbers of the faults that are not made. Faults are numbered in the order in which they would be made.
    pub left_out: BTreeSet<u32>,
}

/// A message in the queue.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) id: u64,
    pub(crate) message: Message,
    /// What the newer release has written, if it has sent the message.
    pub(crate) newer: Option<String>,
    pub(crate) visible_at: i64,
    pub(crate) receive_count: u32,
}

/// One call of a callback URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) sent_at: i64,
    /// Status and time of the answer.
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
    /// When `execute` ended, in the run that was committed.
    pub(crate) ended_at: i64,
    /// When `execute` ended in the first run: the wake-up that this run sent is as valid as those of later
    /// runs.
    pub(crate) first_ended_at: i64,
}

/// The state of one simulated world.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) options: Options,
    pub(crate) script: Script,
    pub(crate) releases: Releases,
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
    /// Whether the newer release has written the record in its own format.
    pub(crate) is_newer_record: bool,
    pub(crate) messages: Vec<Stored>,
    pub(crate) next_message: u64,
    pub(crate) deferred: [Vec<(Message, Duration)>; PROCESSES],
    pub(crate) handling: [Option<Stored>; PROCESSES],
    // What has happened.
    pub(crate) calls: Vec<Call>,
    pub(crate) tokens: Vec<String>,
    pub(crate) appended: Vec<usize>,
    pub(crate) committed: Vec<Committed>,
    pub(crate) claimed_at: [i64; PROCESSES],
    pub(crate) ended_at: [i64; PROCESSES],
    pub(crate) first_ended_at: BTreeMap<usize, i64>,
    /// The lease by the world's own account: holder and end.
    pub(crate) lease: Option<(usize, Timestamp)>,
    pub(crate) posts: u32,
    pub(crate) posts_taken: u32,
    /// Runs alone that were begun, by step.
    pub(crate) begun_alone: BTreeMap<u32, u32>,
    pub(crate) gone: bool,
    pub(crate) deliveries: usize,
    quiet: usize,
    pub(crate) busy: usize,
    pub(crate) final_calls: usize,
    receipts: Vec<Receipt>,
    /// The state in the answer to `invoke`, if its status was 200.
    pub(crate) invoked: Option<Value>,
    /// The end as `schedule` has shown it.
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
            releases: Releases::draw(seed),
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
            is_newer_record: false,
            messages: Vec::new(),
            next_message: 1,
            deferred: Default::default(),
            handling: Default::default(),
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
            begun_alone: BTreeMap::new(),
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

    /// Milliseconds since the world began, in true time rather than by the clock of a process.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether the process runs the newer release.
    pub(crate) fn is_newer(&self, process: usize) -> bool {
        self.releases.is_newer(process, self.now())
    }

    /// Whether the process runs the older release, and the record is in the format of the newer one.
    pub(crate) fn cannot_read_record(&self, process: usize) -> bool {
        self.is_newer_record && !self.is_newer(process)
    }

    /// The time on a process' clock.
    pub(crate) fn shown(&self, process: usize) -> Timestamp {
        Timestamp::from_millis(EPOCH + self.now() + self.offsets[process])
    }

    /// The token of the wake-up that the process handles, if that one is only run alone.
    pub(crate) fn token_handled(&self, process: usize) -> Option<LeaseToken> {
        match &self.handling[process] {
            Some(Stored { message: Message::WakeUp(wake_up), .. }) => wake_up.alone.clone(),
            _ => None,
        }
    }

    pub(crate) fn is_mutated(&self, mutation: Mutation) -> bool {
        self.options.mutation == Some(mutation)
    }

    /// Adds an event to the trace, if the trace is wanted.
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

    /// A message for the trace, without random identifiers.
    pub(crate) fn show(&mut self, message: &Message) -> String {
        match message {
            Message::Finish(finish) => format!("finish message (attempt {})", finish.attempt),
            Message::Unreadable(unreadable) => format!("what it cannot read ({:?})", unreadable.unread),
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

    /// Notes a violation; the first one counts.
    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.violation.is_none() {
            self.note(usize::MAX, |_| format!("VIOLATION: {what}"));
            self.violation = Some(what);
        }
    }

    /// Decides whether this fault is made now.
    pub(crate) fn fault(&mut self, process: usize, fault: Fault) -> bool {
        self.dice.random_ratio(1, self.rate) && self.make(process, fault)
    }

    /// Draws the fault of an effect, if it gets one.
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

    /// Kills the process: it makes no further effects.
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

    /// Stops all faults from now on.
    pub(crate) fn calm(&mut self) {
        self.faults_until = -1;
        (self.table_away_until, self.queue_away_until) = (0, 0);
    }

    /// Notes that a request from outside asks for more work.
    pub(crate) fn disturb(&mut self) {
        self.quiet = 0;
    }

    /// Promise 1, and the corresponding half of promise 5. At every moment, an unfinished invocation has a
    /// message in the queue that wakes it, or waits for a callback; one that owes a finish callback has a
    /// message.
    pub(crate) fn check_wakeable(&mut self) {
        let Some(record) = &self.record else { return };
        let mut wake_ups = self.messages.iter().filter_map(|stored| match &stored.message {
            Message::WakeUp(wake_up) => Some(wake_up),
            Message::Finish(_) | Message::Unreadable(_) => None,
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
            State::Success | State::Fail => {
                let asks = |stored: &Stored| match &stored.message {
                    Message::Finish(finish) => finish.finish_at == record.finish_at,
                    Message::WakeUp(_) | Message::Unreadable(_) => false,
                };
                (record.owed && !self.messages.iter().any(asks))
                    .then_some("P5: owes its finish callback, and no message in the queue asks for it")
            }
        };
        if let Some(lost) = lost {
            self.violate(lost);
        }
    }
}

/// The state that all parts of a world share. It outlives the world, because engines and routes are made once
/// a thread.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Default)]
struct Inner {
    world: Mutex<Option<World>>,
    routes: OnceLock<Machines>,
    /// A message came into the queue.
    pub(crate) queue: Notify,
    /// All work is done, or a check has failed.
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

    /// Reads or changes the world.
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
