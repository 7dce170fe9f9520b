//! The rules of the protocol. Every action is one effect on the table or the queue, so a crash can come
//! between any two effects.
//!
//! Not in the model: the data that steps store, stores that fail or give wrong answers (the simulation has
//! those), which run of the last step a finish message is from, receive counts and dead letters, waits beyond the queue's longest delay, and clocks that differ.

use stateright::{Model, Property};

use crate::properties;
use crate::state::{
    Action, Call, Claim, Event, Invoke, Message, Met, Next, Record, Runner, Stands, State, finish, wake_up,
};

/// A rule that is left out or reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Mutation {
    CommitBeforeSend,
    AppendBeforeSend,
    DeleteBeforeCommit,
    DropOnLease,
    DropWhenBehind,
    PutBackWithoutBound,
    LeaseNeverEnds,
    DeleteOnLostLease,
    ClaimIgnoresLease,
    ClaimIgnoresStep,
    ClaimIgnoresEnd,
    ClaimIgnoresDeadline,
    CallbackRunsPoll,
    CommitIgnoresLease,
    CommitIgnoresInbox,
    CommitBeforeFinish,
    EarlyFinishIsDropped,
    EarlyFinishIsPosted,
    SettleBeforePost,
    /// No property breaks without this rule: it is a second line of defence.
    FirstRecordIgnoresInbox,
    /// No property breaks without this rule: wake-ups are dropped later.
    ConsumedIsForgotten,
}

/// The model: a script for `execute`, the numbers of runners, callbacks and faults, and the rule that is left
/// out.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "see the state")]
pub struct Protocol {
    pub steps: &'static [Next],
    /// Whether a step may fail in one run and not in the next.
    pub steps_fail: bool,
    pub callbacks: usize,
    pub runners: usize,
    pub crashes: u8,
    pub duplicates: u8,
    pub early_ends: u8,
    pub mutation: Option<Mutation>,
}

impl Protocol {
    fn without(&self, rule: Mutation) -> bool {
        self.mutation == Some(rule)
    }

    /// `invoke`: runs the first step inside the call, which no wake-up covers. Then sends the wake-up and
    /// writes the record.
    fn invoke(&self, s: &mut State) {
        let next = self.steps[0];
        match s.invoke {
            Invoke::Executes if next == Next::Done => s.invoke = Invoke::Answered,
            Invoke::Executes => {
                let due = s.due(next);
                if let Some(due) = due {
                    s.send(wake_up(1, due, None));
                }
                s.invoke = Invoke::Writes { due, inbox_len: 0 };
            }
            Invoke::Writes { due, inbox_len } => {
                let is = s.record.inbox.len();
                let early_callback = matches!(next, Next::Callback(_)) && is != inbox_len;
                if early_callback && !self.without(Mutation::FirstRecordIgnoresInbox) {
                    s.send(wake_up(1, s.clock, None));
                    s.invoke = Invoke::Writes { due, inbox_len: is };
                } else {
                    Self::enter(s, 1, next, due);
                    s.invoke = Invoke::Answered;
                }
            }
            Invoke::Answered | Invoke::Dead => {}
        }
    }

    /// Writes the result of a step and removes the lease.
    fn enter(s: &mut State, step: u8, next: Next, due: Option<u8>) {
        s.record.state = match next {
            Next::Poll(_) => Stands::Poll,
            Next::Callback(_) => Stands::Callback,
            Next::Done => Stands::Finished,
        };
        s.record =
            Record { invoke_count: step, lease: None, due, owed: next == Next::Done, ..s.record.clone() };
        s.commits += 1;
        if next == Next::Done {
            s.finished_by = s.finished_by.or(Some(s.commits));
        }
    }

    /// A callback: sends the wake-up, appends to the inbox unless the invocation is finished, and answers.
    fn call(&self, s: &mut State, call: usize) {
        let receipt = u8::try_from(call).unwrap_or(u8::MAX);
        let begins = s.calls[call] == Call::Begins;
        let done = if begins { Call::HalfWay } else { Call::Accepted };
        if begins != self.without(Mutation::AppendBeforeSend) {
            s.send(wake_up(0, s.clock, Some(receipt)));
            s.calls[call] = done;
        } else if s.record.state == Stands::Finished {
            s.calls[call] = Call::Refused;
        } else {
            s.record.inbox.push(receipt);
            s.accepted.push(receipt);
            s.calls[call] = done;
        }
    }

    /// What a runner with this wake-up finds on the record.
    fn met(&self, s: &State, after_step: u8, receipt: Option<u8>) -> Met {
        let record = &s.record;
        let is_stub = record.state == Stands::Stub;
        let is_polling = record.state == Stands::Poll && !self.without(Mutation::CallbackRunsPoll);
        let is_ahead = record.invoke_count > after_step && !self.without(Mutation::ClaimIgnoresStep);
        let asks_again = record.invoke_count == after_step && self.without(Mutation::ClaimIgnoresEnd);
        let forgotten = self.without(Mutation::ConsumedIsForgotten);
        match receipt {
            _ if record.state == Stands::Finished && !asks_again => Met::Past,
            Some(receipt) if record.consumed.contains(&receipt) && !forgotten => Met::Past,
            Some(receipt) if is_stub || !record.inbox.contains(&receipt) => Met::Behind,
            Some(_) if is_polling => Met::Past,
            None if is_ahead => Met::Past,
            None if is_stub || record.invoke_count < after_step => Met::Behind,
            _ if record.lease.is_some() && !self.without(Mutation::ClaimIgnoresLease) => Met::Leased,
            _ if record.state == Stands::Callback
                && !s.is_called_or_timed_out()
                && !self.without(Mutation::ClaimIgnoresDeadline) =>
            {
                Met::Past
            }
            _ => Met::Claimable,
        }
    }

    /// Claims the step, or puts the message back, or drops it.
    fn meet(&self, s: &mut State, runner: usize, met: Met) {
        let Runner::Holds(held) = s.runners[runner] else { return };
        s.runners[runner] = Runner::Idle;
        match (met, held) {
            (Met::Claimable, _) => {
                let event = match s.record.state {
                    Stands::Callback if s.record.inbox.is_empty() => Event::TimedOut,
                    Stands::Callback => Event::Called,
                    _ => Event::Polled,
                };
                let claim = Claim { step: s.record.invoke_count, event, inbox_len: s.record.inbox.len() };
                s.record.lease = Some(runner);
                s.runners[runner] = Runner::Runs(held, claim);
            }
            (Met::Leased, _) if !self.without(Mutation::DropOnLease) => s.send(held),
            (Met::Behind, Message::WakeUp { after_step, due, receipt, put_backs_left })
                if !self.without(Mutation::DropWhenBehind) =>
            {
                if let Some(put_backs_left) = self.put_back(s, put_backs_left) {
                    s.send(Message::WakeUp { after_step, due, receipt, put_backs_left });
                }
            }
            (Met::Behind, Message::Finish { put_backs_left })
                if !self.without(Mutation::EarlyFinishIsDropped) =>
            {
                if let Some(put_backs_left) = self.put_back(s, put_backs_left) {
                    s.send(Message::Finish { put_backs_left });
                }
            }
            _ => {}
        }
    }

    /// The put-backs that are left after one more, if one more is allowed.
    fn put_back(&self, s: &State, put_backs_left: u8) -> Option<u8> {
        let unbounded = s.has_live_sender() || self.without(Mutation::PutBackWithoutBound);
        put_backs_left.checked_sub(u8::from(!unbounded))
    }

    /// The next effect of a runner: sends the follow-up messages, commits, posts the finish callback, or
    /// deletes.
    fn work(&self, s: &mut State, runner: usize, fails: bool) {
        s.runners[runner] = match std::mem::replace(&mut s.runners[runner], Runner::Idle) {
            Runner::Runs(wake_up, claim) => {
                let script = self.steps.get(usize::from(claim.step)).copied();
                let ends = fails || claim.event == Event::TimedOut;
                let next = script.filter(|_| !ends).unwrap_or(Next::Done);
                let due = s.due(next);
                if !self.without(Mutation::CommitBeforeSend) {
                    self.follow_ups(s.clock, next, due, claim)
                        .into_iter()
                        .for_each(|message| s.send(message));
                }
                Runner::Commits { wake_up, claim, next, due }
            }
            Runner::Commits { wake_up: held, claim, next, due } => {
                let inbox_grew = matches!(next, Next::Callback(_)) && s.record.inbox.len() != claim.inbox_len;
                if s.record.lease != Some(runner) && !self.without(Mutation::CommitIgnoresLease) {
                    if !self.without(Mutation::DeleteOnLostLease) {
                        s.send(held);
                    }
                    Runner::Idle
                } else if inbox_grew && !self.without(Mutation::CommitIgnoresInbox) {
                    s.send(wake_up(claim.step + 1, s.clock, None));
                    let claim = Claim { inbox_len: s.record.inbox.len(), ..claim };
                    Runner::Commits { wake_up: held, claim, next, due }
                } else {
                    if claim.event == Event::Called && !s.record.inbox.is_empty() {
                        let consumed = s.record.inbox.remove(0);
                        s.record.consumed.push(consumed);
                    }
                    Self::enter(s, claim.step + 1, next, due);
                    let mut to_send = Vec::new();
                    if self.without(Mutation::CommitBeforeSend) {
                        to_send = self.follow_ups(s.clock, next, due, claim);
                    }
                    if next == Next::Done && self.without(Mutation::CommitBeforeFinish) {
                        to_send.push(finish());
                    }
                    Runner::Committed { wake_up: held, to_send }
                }
            }
            Runner::Committed { wake_up, mut to_send } => match to_send.pop() {
                Some(message) => {
                    s.send(message);
                    Runner::Committed { wake_up, to_send }
                }
                None => Runner::Idle,
            },
            Runner::Holds(_) if s.record.owed || s.record.state != Stands::Finished => {
                self.post_or_settle(s, true);
                Runner::Posted
            }
            Runner::Posted => {
                self.post_or_settle(s, false);
                Runner::Idle
            }
            Runner::Holds(_) | Runner::Idle => Runner::Idle,
        }
    }

    /// The messages that must be in the queue before a step's result is committed.
    fn follow_ups(&self, clock: u8, next: Next, due: Option<u8>, claim: Claim) -> Vec<Message> {
        let mut messages: Vec<Message> =
            due.map(|due| wake_up(claim.step + 1, due, None)).into_iter().collect();
        let inbox_left = claim.inbox_len > usize::from(claim.event == Event::Called);
        if inbox_left && matches!(next, Next::Callback(_)) {
            messages.push(wake_up(claim.step + 1, clock, None));
        }
        if next == Next::Done && !self.without(Mutation::CommitBeforeFinish) {
            messages.push(finish());
        }
        messages
    }

    /// The finish callback: posts it, then notes that it is no longer owed.
    fn post_or_settle(&self, s: &mut State, first: bool) {
        if first == self.without(Mutation::SettleBeforePost) {
            s.record.owed = false;
        } else {
            s.posted = true;
        }
    }

    /// Adds the actions that a runner can take.
    fn runner_actions(&self, s: &State, runner: usize, actions: &mut Vec<Action>) {
        match s.runners[runner] {
            Runner::Idle => return,
            Runner::Holds(Message::WakeUp { after_step, receipt, .. }) => {
                actions.push(Action::Meet(runner, self.met(s, after_step, receipt)));
            }
            Runner::Holds(Message::Finish { .. })
                if s.record.state != Stands::Finished && !self.without(Mutation::EarlyFinishIsPosted) =>
            {
                actions.push(Action::Meet(runner, Met::Behind));
            }
            _ => actions.push(Action::Work(runner)),
        }
        if self.steps_fail && matches!(s.runners[runner], Runner::Runs(..)) {
            actions.push(Action::StepFails(runner));
        }
        if s.crashes > 0 {
            actions.push(Action::RunnerDies(runner));
        }
    }

    /// A runner's process dies. Its message is delivered again, because it was not deleted.
    fn runner_dies(&self, s: &mut State, runner: usize) {
        let early_delete = self.without(Mutation::DeleteBeforeCommit);
        match std::mem::replace(&mut s.runners[runner], Runner::Idle) {
            Runner::Runs(..) | Runner::Commits { .. } if early_delete => {}
            Runner::Holds(held)
            | Runner::Runs(held, _)
            | Runner::Commits { wake_up: held, .. }
            | Runner::Committed { wake_up: held, .. } => s.send(held),
            Runner::Posted => s.send(finish()),
            Runner::Idle => {}
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            record: Record {
                state: Stands::Stub,
                invoke_count: 0,
                lease: None,
                inbox: Vec::new(),
                consumed: Vec::new(),
                due: None,
                owed: false,
            },
            queue: Vec::new(),
            invoke: Invoke::Executes,
            calls: vec![Call::Begins; self.callbacks],
            runners: vec![Runner::Idle; self.runners],
            clock: 0,
            crashes: self.crashes,
            duplicates: self.duplicates,
            early_ends: self.early_ends,
            accepted: Vec::new(),
            commits: 0,
            finished_by: None,
            posted: false,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        if matches!(s.invoke, Invoke::Executes | Invoke::Writes { .. }) {
            actions.push(Action::Invoke);
            actions.extend((s.crashes > 0).then_some(Action::InvokeDies));
        }
        for (call, at) in s.calls.iter().enumerate() {
            if matches!(at, Call::Begins | Call::HalfWay) {
                actions.push(Action::Call(call));
                actions.extend((s.crashes > 0).then_some(Action::CallDies(call)));
            }
        }
        let idle = s.runners.iter().position(|runner| *runner == Runner::Idle); // all idle runners are alike
        let mut kinds = s.queue.clone();
        kinds.dedup();
        for message in kinds {
            actions
                .extend(idle.filter(|_| message.is_due(s.clock)).map(|idle| Action::Receive(idle, message)));
            actions.extend((s.duplicates > 0).then_some(Action::Duplicate(message)));
        }
        for runner in 0..s.runners.len() {
            self.runner_actions(s, runner, actions);
        }
        if s.lease_has_live_holder() {
            actions.extend((s.early_ends > 0).then_some(Action::LeaseEndsEarly));
        } else if s.record.lease.is_some() && !self.without(Mutation::LeaseNeverEnds) {
            actions.push(Action::LeaseEnds);
        }
        if s.record.due.is_some_and(|due| due > s.clock) || s.queue.iter().any(|m| !m.is_due(s.clock)) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        match action {
            Action::Invoke => self.invoke(&mut s),
            Action::Call(call) => self.call(&mut s, call),
            Action::Receive(runner, message) => {
                let place = s.queue.iter().position(|there| *there == message)?;
                s.runners[runner] = Runner::Holds(s.queue.remove(place));
            }
            Action::Meet(runner, met) => self.meet(&mut s, runner, met),
            Action::Work(runner) => self.work(&mut s, runner, false),
            Action::StepFails(runner) => self.work(&mut s, runner, true),
            Action::Tick => s.clock += 1,
            Action::LeaseEnds => s.record.lease = None,
            Action::LeaseEndsEarly => (s.record.lease, s.early_ends) = (None, s.early_ends - 1),
            Action::InvokeDies => (s.invoke, s.crashes) = (Invoke::Dead, s.crashes - 1),
            Action::CallDies(call) => (s.calls[call], s.crashes) = (Call::Dead, s.crashes - 1),
            Action::RunnerDies(runner) => {
                self.runner_dies(&mut s, runner);
                s.crashes -= 1;
            }
            Action::Duplicate(message) => {
                s.send(message);
                s.duplicates -= 1;
            }
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
