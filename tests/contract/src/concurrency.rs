//! Clients that change one record at the same time, and the check of their answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_core::record::{Deadline, InboxEntry, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, ClaimOn, Commit, Table};
use serde_json::json;

use crate::TableStore;
use crate::checker::{self, Call, Verdict};
use crate::sample::{Dice, START, early, ended, entry, late, polled, record};
use crate::specification::{Answer, OneRecord, Operation};

/// The calls made on one record, with their answers.
pub type History = Vec<Call<Operation, Answer>>;

/// Number of clients on one record at the same time.
const CLIENTS: usize = 32;

/// Number of calls that each client makes, or a few more.
const CALLS: usize = 16;

/// Number of records, tried one after the other.
const RECORDS: u64 = 12;

/// A single client gets the specified answer to each change, sensible or not.
pub async fn one_client_is_answered_as_specified(store: &dyn TableStore) {
    let mut seen = Seen::default();
    for seed in 0..6 {
        let trace_id = TraceId::random();
        let mut client = Client::new(0, store.table(), trace_id.clone(), seed, Arc::default());
        client.is_odd = true;
        client.work(250).await;
        seen.add(&client.history);
        // An empty history, so that the specification assumes no order of callbacks: the client appends
        // forgotten receipts again.
        let specification = OneRecord::new(trace_id, &[]);
        let verdict = checker::check(&specification, None, &client.history);
        let told = || checker::explain(&specification, None, &client.history, &verdict);
        assert!(matches!(verdict, Verdict::Linearizable { .. }), "seed {seed}: {}", told());
    }
    println!("one client: {seen}");
    seen.is_varied();
}

/// Some order of the calls explains each record's history.
pub async fn many_clients_are_linearizable(store: &dyn TableStore) {
    let (mut seen, mut visited) = (Seen::default(), 0);
    for seed in 0..RECORDS {
        let (trace_id, history) = run(store.table(), seed).await;
        seen.add(&history);
        match judge(trace_id, &history) {
            Ok(states) => visited += states,
            Err(told) => panic!("seed {seed}: {told}"),
        }
    }
    println!("{CLIENTS} clients at once: {seen}; linearizable, {visited} states looked at");
    seen.is_varied();
}

/// Has the clients change a new record, all at the same time.
pub async fn run(table: Arc<dyn Table>, seed: u64) -> (TraceId, History) {
    let trace_id = TraceId::random();
    let sequence = Arc::new(AtomicU64::new(0));
    let client = |id: usize| {
        let seed = seed * 1000 + id as u64;
        Client::new(id, table.clone(), trace_id.clone(), seed, sequence.clone())
    };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| {
            let mut client = client(id);
            tokio::spawn(async move {
                client.work(CALLS).await;
                client.history
            })
        })
        .collect();
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    let mut last = client(CLIENTS);
    last.call(Operation::Read).await;
    history.append(&mut last.history);
    (trace_id, history)
}

/// Checks that a record's history is linearizable. Returns the number of states visited, or what is wrong.
pub fn judge(trace_id: TraceId, history: &History) -> Result<usize, String> {
    let specification = OneRecord::new(trace_id, history);
    let verdict = checker::check(&specification, None, history);
    match verdict {
        Verdict::Linearizable { visited, .. } => Ok(visited),
        _ => Err(checker::explain(&specification, None, history, &verdict)),
    }
}

/// Counts of the kinds of answers in the histories.
#[derive(Debug, Default)]
struct Seen {
    histories: usize,
    calls: usize,
    kinds: HashMap<&'static str, usize>,
}

impl Seen {
    fn add(&mut self, history: &History) {
        self.histories += 1;
        self.calls += history.len();
        for call in history {
            let kind = match (&call.operation, &call.answer) {
                (_, None) => "unknown",
                (Operation::Create(..), Some(Answer::Applied)) => "created",
                (Operation::Create(..), _) => "create refused",
                (Operation::Claim(..), Some(Answer::Granted(_))) => "claimed",
                (Operation::Claim(..), _) => "claim refused",
                (Operation::Commit(..), Some(Answer::Applied)) => "committed",
                (Operation::Commit(..), _) => "commit refused",
                (Operation::Append(_), Some(Answer::Applied)) => "appended",
                (Operation::Append(_), _) => "append refused",
                (Operation::Settle, _) => "settled",
                (Operation::Read, _) => "read",
            };
            *self.kinds.entry(kind).or_default() += 1;
        }
    }

    /// Asserts that the histories contain every kind of answer: a history without changes proves nothing.
    fn is_varied(&self) {
        for kind in ["created", "claimed", "committed", "appended", "settled", "read"] {
            assert!(self.kinds.contains_key(kind), "{kind}: {self}");
        }
        for kind in ["create refused", "claim refused", "commit refused", "append refused"] {
            assert!(self.kinds.contains_key(kind), "{kind}: {self}");
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        kinds.sort();
        write!(f, "{} operations in {} histories ({})", self.calls, self.histories, kinds.join(", "))
    }
}

/// A client that behaves as runners and callers do, crashes and lost answers included.
struct Client {
    id: usize,
    table: Arc<dyn Table>,
    trace_id: TraceId,
    dice: Dice,
    /// Numbers beginnings and ends; also the clock of leases and deadlines, a millisecond each.
    sequence: Arc<AtomicU64>,
    /// Whether the client also makes calls that no runner makes. Such a client must be the only one.
    is_odd: bool,
    history: History,
    /// The record as the table last showed it.
    seen: Option<Record>,
    tokens: Vec<LeaseToken>,
    entries: Vec<InboxEntry>,
    is_near_its_end: bool,
}

impl Client {
    fn new(id: usize, table: Arc<dyn Table>, trace_id: TraceId, seed: u64, sequence: Arc<AtomicU64>) -> Self {
        Self {
            id,
            table,
            trace_id,
            dice: Dice::new(seed),
            sequence,
            is_odd: false,
            history: History::new(),
            seen: None,
            tokens: Vec::new(),
            entries: Vec::new(),
            is_near_its_end: false,
        }
    }

    async fn work(&mut self, calls: usize) {
        while self.history.len() < calls {
            self.is_near_its_end = self.history.len() * 4 > calls * 3;
            match self.dice.roll(14) {
                0 | 1 => self.call(Operation::Read).await,
                2 => self.create().await,
                3..=5 => self.append().await,
                6 => self.append_again().await,
                7 => self.call(Operation::Settle).await,
                8 if self.is_odd => self.commit_oddly().await,
                _ => self.step().await,
            };
        }
    }

    /// Asks the table after a random pause, and notes the answer.
    async fn call(&mut self, operation: Operation) -> Option<Answer> {
        if self.is_odd {
            // A single client has no others to interleave with.
        } else if self.dice.once_in(3) {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_micros(self.dice.roll(3_000) as u64)).await;
        }
        let began = self.sequence.fetch_add(1, Ordering::SeqCst);
        let answer = operation.ask(&*self.table, &self.trace_id).await;
        let ended = self.sequence.fetch_add(1, Ordering::SeqCst);
        let answer = match answer {
            Ok(answer) => Some(answer),
            Err(StoreError::Unavailable(_)) => None,
            Err(error) => panic!("{operation:?}: {error}"),
        };
        if let Some(record) = answer.as_ref().and_then(Answer::record) {
            self.seen = Some(record.clone());
        }
        self.history.push(Call { client: self.id, operation, answer: answer.clone(), began, ended });
        answer
    }

    fn now(&mut self) -> Timestamp {
        let now = self.sequence.load(Ordering::SeqCst) + self.dice.roll(20) as u64;
        START + Duration::from_millis(now)
    }

    fn later(&mut self, from: Timestamp, at_most: usize) -> Timestamp {
        from + Duration::from_millis(self.dice.roll(at_most) as u64)
    }

    fn inbox_len(&mut self) -> Option<usize> {
        let known = self.seen.as_ref().map_or(0, |seen| seen.inbox.len());
        *self.dice.pick(&[None, Some(known), Some(known), Some(known.saturating_sub(1)), Some(known + 1)])
    }

    async fn create(&mut self) -> Option<Answer> {
        let mut new = record(*self.dice.pick(&[State::Poll, State::Callback]));
        new.trace_id = self.trace_id.clone();
        new.storage = json!(self.id);
        new.owed = self.dice.once_in(2);
        let inbox_len = self.inbox_len();
        self.call(Operation::Create(Box::new(new), inbox_len)).await
    }

    async fn append(&mut self) -> Option<Answer> {
        let entry = entry(json!([self.id, self.entries.len()]));
        self.entries.push(entry.clone());
        let append = if self.dice.once_in(3) { late(&entry) } else { early(&entry) };
        self.call(Operation::Append(append)).await
    }

    async fn append_again(&mut self) -> Option<Answer> {
        let index = self.dice.roll(self.entries.len().max(1));
        let entry = self.entries.get(index).cloned()?;
        let stub = self.dice.once_in(2).then_some((START, START));
        self.call(Operation::Append(Append { entry, stub })).await
    }

    /// Claims a step or a callback. If the lease is granted, commits or crashes.
    async fn step(&mut self) -> Option<Answer> {
        let now = self.now();
        let lease = Lease { token: LeaseToken::random(), until: self.later(now, 300) };
        let on = self.claim_on();
        match self.call(Operation::Claim(on, lease.clone(), now)).await? {
            Answer::Granted(record) if !self.dice.once_in(10) => self.commit(*record, &lease).await,
            answer => Some(answer),
        }
    }

    fn claim_on(&mut self) -> ClaimOn {
        let seen = self.seen.as_ref();
        let step = seen.map_or(1, |seen| seen.invoke_count);
        let receipts: Vec<Receipt> = seen.map_or_else(Vec::new, |seen| {
            seen.inbox.iter().map(|entry| &entry.receipt).chain(&seen.consumed).cloned().collect()
        });
        if !receipts.is_empty() && self.dice.once_in(3) {
            ClaimOn::Receipt(self.dice.pick(&receipts).clone())
        } else if self.dice.once_in(8) {
            ClaimOn::Step(step + 1)
        } else {
            ClaimOn::Step(step)
        }
    }

    async fn commit(&mut self, record: Record, lease: &Lease) -> Option<Answer> {
        let mut commit = self.commit_of(&record);
        self.tokens.push(lease.token.clone());
        let mut answer;
        loop {
            answer = self.call(Operation::Commit(lease.token.clone(), Box::new(commit.clone()))).await?;
            match &answer {
                Answer::Refused(Some(there))
                    if commit.inbox_len.is_some()
                        && there.lease.as_ref().is_some_and(|held| held.token == lease.token) =>
                {
                    commit.inbox_len = Some(there.inbox.len());
                }
                _ if self.dice.once_in(6) => {}
                _ => return Some(answer),
            }
        }
    }

    fn commit_of(&mut self, record: &Record) -> Commit {
        let is_called = record.state == State::Callback && !record.inbox.is_empty();
        // A record that would forget a receipt consumes no more callbacks, so that one that is appended again
        // is recognised.
        let remembers = record.consumed.len() < Record::CONSUMED_KEPT || self.is_odd;
        let ends = self.is_near_its_end && self.dice.once_in(3);
        let state = if ends {
            *self.dice.pick(&[State::Success, State::Fail])
        } else {
            *self.dice.pick(&[State::Poll, State::Callback, State::Callback])
        };
        let (now, mark) = (self.now(), json!([self.id, self.history.len()]));
        Commit {
            state,
            invoke_count: record.invoke_count + 1,
            storage: (!self.dice.once_in(3)).then(|| mark.clone()),
            outputs: self.dice.once_in(2).then_some(mark),
            deadline: self
                .dice
                .once_in(2)
                .then(|| Deadline { at: self.later(now, 40), run: true })
                .filter(|_| state == State::Callback),
            consume: is_called && remembers,
            owed: self.dice.once_in(2),
            inbox_len: self.dice.once_in(3).then_some(record.inbox.len()),
            ..if ends { ended() } else { polled() }
        }
    }

    /// Commits with any token and any condition.
    async fn commit_oddly(&mut self) -> Option<Answer> {
        let mut tokens = self.tokens.clone();
        tokens.extend(self.seen.as_ref().and_then(|seen| seen.lease.clone()).map(|lease| lease.token));
        tokens.push(LeaseToken::random());
        let token = tokens[tokens.len() - 1 - self.dice.roll(tokens.len().min(2))].clone();
        let mut commit = self.commit_of(&record(State::Poll));
        commit.consume = self.dice.once_in(2);
        commit.inbox_len = self.inbox_len();
        commit.invoke_count = self.seen.as_ref().map_or(1, |seen| seen.invoke_count) + 1;
        self.call(Operation::Commit(token, Box::new(commit))).await
    }
}
