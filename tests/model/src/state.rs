//! The types of the model: the record, the queue, the handlers and runners that work on them, and the
//! actions.
#![allow(missing_docs, reason = "fields and variants are named as the engine names them")]

/// The result of a run of `execute`. Numbers are ticks of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Polls again after an interval.
    Poll(u8),
    /// Waits for the next callback. With a time limit, ends in FAIL if no callback comes within it.
    Callback(Option<u8>),
    /// Ends in SUCCESS or FAIL.
    Done,
}

/// The state of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stands {
    /// No record, or a stub that holds only early callbacks.
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
    /// When the poll is due (only a property reads it), or the deadline of the wait.
    pub due: Option<u8>,
    pub owed: bool,
}

/// A message in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    WakeUp { after_step: u8, due: u8, receipt: Option<u8>, put_backs_left: u8 },
    Finish { put_backs_left: u8 },
}

/// The handler of `invoke`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Invoke {
    /// Runs the first step.
    Executes,
    /// Has sent the wake-up and not yet written the record. `inbox_len` is the length of the inbox that it
    /// knows.
    Writes { due: Option<u8>, inbox_len: usize },
    /// The caller has its answer.
    Answered,
    /// The process died.
    Dead,
}

/// The handler of one callback; its receipt is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Has made no effect yet.
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

/// The input of a claimed step.
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
    /// Has claimed the step and runs `execute`.
    Runs(Message, Claim),
    /// Has sent the follow-up messages and is about to commit.
    Commits {
        wake_up: Message,
        claim: Claim,
        next: Next,
        due: Option<u8>,
    },
    /// Has committed; deletes its wake-up. (With some rules left out it has messages to send before.)
    Committed {
        wake_up: Message,
        to_send: Vec<Message>,
    },
    /// Has posted the finish callback and is about to note it on the record.
    Posted,
}

/// One state of the whole model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub record: Record,
    pub queue: Vec<Message>,
    pub invoke: Invoke,
    pub calls: Vec<Call>,
    pub runners: Vec<Runner>,
    pub clock: u8,
    /// Numbers of faults that may still happen.
    pub crashes: u8,
    pub duplicates: u8,
    pub early_ends: u8,
    /// Read only by the properties: callbacks in the order of acceptance, ...
    pub accepted: Vec<u8>,
    /// ... the number of commits, the commit that finished, and whether the finish callback was posted.
    pub commits: u8,
    pub finished_by: Option<u8>,
    pub posted: bool,
}

/// What a runner finds on the record, as in the table in the description of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Met {
    /// The claim is granted.
    Claimable,
    /// A runner's lease is on the record.
    Leased,
    /// The step, callback or end that the message was sent for is not written yet, or never will be.
    Behind,
    /// The step was committed, the callback was consumed, or there is nothing to do yet.
    Past,
}

/// An action: what can happen next.
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
    /// A runner's `execute` ends in FAIL instead of the result in the script.
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

/// A wake-up as it is sent the first time.
pub fn wake_up(after_step: u8, due: u8, receipt: Option<u8>) -> Message {
    Message::WakeUp { after_step, due, receipt, put_backs_left: 1 }
}

/// A request for the finish callback as it is sent the first time.
pub fn finish() -> Message {
    Message::Finish { put_backs_left: 1 }
}

impl Message {
    /// Whether the queue may deliver this message.
    pub fn is_due(self, clock: u8) -> bool {
        !matches!(self, Self::WakeUp { due, .. } if due > clock)
    }
}

impl State {
    /// Adds a message. The queue has no order; it is kept sorted, so that equal queues are equal states.
    pub fn send(&mut self, message: Message) {
        let place = self.queue.partition_point(|there| *there < message);
        self.queue.insert(place, message);
    }

    /// Whether a wait can end, by a callback or by its deadline.
    pub fn is_called_or_timed_out(&self) -> bool {
        !self.record.inbox.is_empty() || self.record.due.is_some_and(|due| due <= self.clock)
    }

    /// Whether a live process may still write the step or callback that a wake-up was sent for. The limit of
    /// put-backs outlives such processes.
    pub fn has_live_sender(&self) -> bool {
        matches!(self.invoke, Invoke::Executes | Invoke::Writes { .. })
            || self.calls.iter().any(|call| matches!(call, Call::Begins | Call::HalfWay))
            || self.runners.iter().any(|runner| matches!(runner, Runner::Runs(..) | Runner::Commits { .. }))
    }

    /// Whether a live runner still works under the lease.
    pub fn lease_has_live_holder(&self) -> bool {
        let holder = self.record.lease.map(|holder| &self.runners[holder]);
        matches!(holder, Some(Runner::Runs(..) | Runner::Commits { .. }))
    }

    /// The time that a step's result sets: when its poll is due, or the deadline of its wait.
    pub fn due(&self, next: Next) -> Option<u8> {
        match next {
            Next::Poll(ticks) | Next::Callback(Some(ticks)) => Some(self.clock + ticks),
            Next::Callback(None) | Next::Done => None,
        }
    }
}
