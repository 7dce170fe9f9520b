//! The words of the model: the record, the queue, everybody who works on them, and what can happen.
#![allow(missing_docs, reason = "fields and variants are named as the engine names them")]

/// What a run of `execute` ends in. Numbers are ticks of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Again after an interval.
    Poll(u8),
    /// With the next callback; FAIL if none comes in the time given, if one is given.
    Callback(Option<u8>),
    /// SUCCESS or FAIL.
    Done,
}

/// Where an invocation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stands {
    /// No record, or one that only holds early callbacks.
    Stub,
    Poll,
    Callback,
    Finished,
}

/// The record. A runner's lease token is its number: it works on one step at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    pub state: Stands,
    pub invoke_count: u8,
    pub lease: Option<usize>,
    pub inbox: Vec<u8>,
    pub consumed: Vec<u8>,
    /// When the poll is due (only looked at by a property), or the deadline of the wait.
    pub due: Option<u8>,
    pub owed: bool,
}

/// What is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    WakeUp { after_step: u8, due: u8, receipt: Option<u8>, put_backs_left: u8 },
    Finish,
}

/// The handler of `invoke`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Invoke {
    /// Runs the first step.
    Executes,
    /// The wake-up is sent, the record is not written. `inbox_len` is the length it knows.
    Writes { due: Option<u8>, inbox_len: usize },
    /// The caller has its answer.
    Answered,
    /// The process died.
    Dead,
}

/// The handler of one callback; its receipt is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Has done nothing yet.
    Begins,
    /// Has made one of its two effects.
    HalfWay,
    /// Answered with 200.
    Accepted,
    /// Answered with an error: the invocation is finished.
    Refused,
    /// The process died.
    Dead,
}

/// What a claimed step is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Polled,
    Called,
    TimedOut,
}

/// The record as the claim returned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    pub step: u8,
    pub event: Event,
    pub inbox_len: usize,
}

/// A runner and the message it has in hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Runner {
    Idle,
    /// Has received a message.
    Holds(Message),
    /// Has claimed, runs `execute`.
    Runs(Message, Claim),
    /// Has sent what must follow, is about to commit.
    Commits {
        wake_up: Message,
        claim: Claim,
        next: Next,
        due: Option<u8>,
    },
    /// Has committed, sends what is left to send, then deletes its wake-up.
    Committed {
        wake_up: Message,
        to_send: Vec<Message>,
    },
    /// Has posted the finish callback, is about to note that.
    Posted,
}

/// One state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub record: Record,
    pub queue: Vec<Message>,
    pub invoke: Invoke,
    pub calls: Vec<Call>,
    pub runners: Vec<Runner>,
    pub clock: u8,
    /// Faults that may still happen.
    pub crashes: u8,
    pub duplicates: u8,
    pub early_ends: u8,
    /// What only the properties look at: callbacks in the order they were accepted, ...
    pub accepted: Vec<u8>,
    /// ... commits that were made, the one that finished, and whether the finish callback was posted.
    pub commits: u8,
    pub finished_by: Option<u8>,
    pub posted: bool,
}

/// What a runner meets at the record: the table in the description of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Met {
    /// The claim is granted.
    Claimable,
    /// Somebody's lease is on the record.
    Leased,
    /// What the wake-up was sent for is not written yet, or never will be.
    Behind,
    /// The step was committed, the callback handed over, or nothing is to be done yet.
    Past,
    /// Finished, and a finish callback is owed.
    Owed,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The handler of `invoke` makes its next effect.
    Invoke,
    /// The handler of this callback makes its next effect.
    Call(usize),
    /// A runner receives a message.
    Receive(usize, Message),
    /// A runner meets the record with its wake-up.
    Meet(usize, Met),
    /// A runner makes its next effect.
    Work(usize),
    /// A runner's `execute` ends in FAIL instead of what it should.
    StepFails(usize),
    /// The lease of a dead runner ends.
    LeaseEnds,
    /// Time passes, if anything waits for it.
    Tick,
    /// A fault: `invoke`, a callback's handler, or a runner dies.
    InvokeDies,
    /// See above.
    CallDies(usize),
    /// See above.
    RunnerDies(usize),
    /// A fault: the queue delivers twice.
    Duplicate(Message),
    /// A fault: a lease ends while its runner is alive but slow.
    LeaseEndsEarly,
}

/// A wake-up as it is first sent.
pub fn wake_up(after_step: u8, due: u8, receipt: Option<u8>) -> Message {
    Message::WakeUp { after_step, due, receipt, put_backs_left: 1 }
}

impl Message {
    /// Whether the queue may deliver it.
    pub fn is_due(self, clock: u8) -> bool {
        !matches!(self, Self::WakeUp { due, .. } if due > clock)
    }
}

impl State {
    /// The queue has no order: kept sorted, so that equal queues are equal states.
    pub fn send(&mut self, message: Message) {
        let place = self.queue.partition_point(|there| *there < message);
        self.queue.insert(place, message);
    }

    /// Whether a callback or the deadline lets a wait go on.
    pub fn is_called_or_timed_out(&self) -> bool {
        !self.record.inbox.is_empty() || self.record.due.is_some_and(|due| due <= self.clock)
    }

    /// Whether somebody lives who may yet write what a wake-up was sent for: the bound of put-backs outlives
    /// them.
    pub fn has_live_sender(&self) -> bool {
        matches!(self.invoke, Invoke::Executes | Invoke::Writes { .. })
            || self.calls.iter().any(|call| matches!(call, Call::Begins | Call::HalfWay))
            || self.runners.iter().any(|runner| matches!(runner, Runner::Runs(..) | Runner::Commits { .. }))
    }

    /// Whether the lease is one that somebody still works under.
    pub fn lease_has_live_holder(&self) -> bool {
        let holder = self.record.lease.map(|holder| &self.runners[holder]);
        matches!(holder, Some(Runner::Runs(..) | Runner::Commits { .. }))
    }

    /// What a step's end asks of the clock: when its poll is due, or the deadline of its wait.
    pub fn due(&self, next: Next) -> Option<u8> {
        match next {
            Next::Poll(ticks) | Next::Callback(Some(ticks)) => Some(self.clock + ticks),
            Next::Callback(None) | Next::Done => None,
        }
    }
}
