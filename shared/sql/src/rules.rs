//! The conditions of the port `Table` without a database: when a change of a record is allowed, and what it does
//! to the record.
//!
//! A [`Head`] is the part of a record that conditions look at. It holds no large texts, only their sizes.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt};
use bk_plugin_core::record::{Deadline, Lease, Record, State};
use bk_plugin_core::table::ClaimOn;

/// The part of a record that conditions look at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub(crate) state: State,
    pub(crate) invoke_count: u32,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) owed: bool,
    pub(crate) lease: Option<Lease>,
    pub(crate) inbox: Vec<Entry>,
    pub(crate) consumed: Vec<Receipt>,
    pub(crate) finish_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) sizes: Sizes,
}

/// An entry of an inbox, without its data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) receipt: Receipt,
    pub(crate) size: usize,
}

/// Bytes of a record's texts, without its inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) call: usize,
    pub(crate) storage: usize,
    pub(crate) outputs: usize,
}

/// The part of a step's result that conditions and the head of a record need.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) state: State,
    pub(crate) invoke_count: u32,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) consume: bool,
    pub(crate) owed: bool,
    pub(crate) finish_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) inbox_len: Option<usize>,
    /// Bytes of the new storage; `None` leaves it as it is.
    pub(crate) storage: Option<usize>,
    /// Bytes of the new outputs; `None` leaves them as they are.
    pub(crate) outputs: Option<usize>,
}

/// Whether a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The change is made.
    Applied,
    /// There is nothing to do: it was made before, or it changes nothing.
    Nothing,
    /// Its condition does not hold.
    Refused,
    /// The record would have this many bytes, which is too much.
    TooLarge(usize),
    /// The inbox holds as many callbacks as it may.
    InboxFull,
}

impl Head {
    /// A record that only holds early callbacks.
    pub(crate) fn stub(expires_at: Timestamp) -> Self {
        Self {
            state: State::Empty,
            invoke_count: 0,
            deadline: None,
            owed: false,
            lease: None,
            inbox: Vec::new(),
            consumed: Vec::new(),
            finish_at: None,
            expires_at: Some(expires_at),
            sizes: Sizes::default(),
        }
    }

    /// The head of a new record. Its inbox is empty: [`Head::create`] puts in that of the stub.
    pub(crate) fn of(record: &Record, sizes: Sizes) -> Self {
        Self {
            state: record.state,
            invoke_count: record.invoke_count,
            deadline: record.deadline,
            owed: record.owed,
            lease: record.lease.clone(),
            inbox: Vec::new(),
            consumed: record.consumed.clone(),
            finish_at: record.finish_at,
            expires_at: None,
            sizes,
        }
    }

    /// Turns a stub into an invocation.
    pub(crate) fn create(&mut self, new: &Self, inbox_len: Option<usize>, limit: usize) -> Verdict {
        if self.state != State::Empty || inbox_len.is_some_and(|length| length != self.inbox.len()) {
            return Verdict::Refused;
        }
        let inbox = self.inbox.clone();
        let created = Self { inbox, ..new.clone() };
        if created.size() > limit {
            return Verdict::TooLarge(created.size());
        }
        *self = created;
        Verdict::Applied
    }

    /// Puts a lease on the record.
    pub(crate) fn claim(&mut self, on: &ClaimOn, lease: &Lease, now: Timestamp) -> Verdict {
        let leased = self.lease.as_ref().is_some_and(|lease| lease.until > now);
        if leased || !self.is_at(on, now) {
            return Verdict::Refused;
        }
        self.lease = Some(lease.clone());
        Verdict::Applied
    }

    fn is_at(&self, on: &ClaimOn, now: Timestamp) -> bool {
        match (on, self.state) {
            (ClaimOn::Step(after), State::Poll) => self.invoke_count == *after,
            (ClaimOn::Step(after), State::Callback) => {
                let timed_out = self.deadline.is_some_and(|deadline| deadline.at <= now);
                self.invoke_count == *after && (!self.inbox.is_empty() || timed_out)
            }
            (ClaimOn::Receipt(receipt), State::Callback) => self.holds(receipt),
            (_, State::Empty | State::Success | State::Fail) | (ClaimOn::Receipt(_), State::Poll) => false,
        }
    }

    /// Applies the result of a step. Returns the consumed entry.
    pub(crate) fn commit(
        &mut self,
        token: &LeaseToken,
        step: &Step,
        limit: usize,
    ) -> (Verdict, Option<Entry>) {
        let holder = self.lease.as_ref().is_some_and(|lease| lease.token == *token);
        let inbox_fits = step.inbox_len.is_none_or(|length| length == self.inbox.len());
        if !holder || !inbox_fits || (step.consume && self.inbox.is_empty()) {
            return (Verdict::Refused, None);
        }
        let mut next = self.clone();
        let consumed = step.consume.then(|| next.consume());
        next.enter(step);
        // A commit without texts is never too large, so that an invocation whose state is too large can still be
        // ended.
        let grows = step.storage.is_some() || step.outputs.is_some();
        if grows && next.size() > limit {
            return (Verdict::TooLarge(next.size()), None);
        }
        *self = next;
        (Verdict::Applied, consumed)
    }

    fn enter(&mut self, step: &Step) {
        self.state = step.state;
        self.invoke_count = step.invoke_count;
        self.deadline = step.deadline;
        self.owed = step.owed;
        self.finish_at = step.finish_at;
        self.expires_at = step.expires_at;
        self.lease = None;
        self.sizes.storage = step.storage.unwrap_or(self.sizes.storage);
        self.sizes.outputs = step.outputs.unwrap_or(self.sizes.outputs);
    }

    fn consume(&mut self) -> Entry {
        let entry = self.inbox.remove(0);
        self.consumed.push(entry.receipt.clone());
        let forgotten = self.consumed.len().saturating_sub(Record::CONSUMED_KEPT);
        self.consumed.drain(..forgotten);
        entry
    }

    /// Adds a callback. A receipt that is known was accepted before, so it is not refused, even if the invocation
    /// has ended since.
    pub(crate) fn append(&mut self, entry: Entry, limit: usize) -> Verdict {
        if self.holds(&entry.receipt) || self.consumed.contains(&entry.receipt) {
            return Verdict::Nothing;
        }
        if self.state.is_finished() {
            return Verdict::Refused;
        }
        if self.inbox.len() >= Record::LARGEST_INBOX {
            return Verdict::InboxFull;
        }
        let size = self.size() + entry.size;
        if size > limit {
            return Verdict::TooLarge(size);
        }
        self.inbox.push(entry);
        Verdict::Applied
    }

    /// Notes that the finish callback is no longer owed.
    pub(crate) fn settle(&mut self) -> Verdict {
        if std::mem::take(&mut self.owed) { Verdict::Applied } else { Verdict::Nothing }
    }

    /// Takes the lease with this token off.
    pub(crate) fn release(&mut self, token: &LeaseToken) -> Verdict {
        match self.lease.take_if(|lease| lease.token == *token) {
            Some(_) => Verdict::Applied,
            None => Verdict::Nothing,
        }
    }

    fn holds(&self, receipt: &Receipt) -> bool {
        self.inbox.iter().any(|entry| entry.receipt == *receipt)
    }

    /// Bytes of the record, without the parts that have a limit of their own: names, times, `err`.
    pub(crate) fn size(&self) -> usize {
        let inbox: usize = self.inbox.iter().map(|entry| entry.size).sum();
        self.sizes.call + self.sizes.storage + self.sizes.outputs + inbox
    }
}
