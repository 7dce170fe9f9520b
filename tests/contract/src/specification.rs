//! The port `Table` as a pure function: how one record behaves when one client at a time changes it. No store
//! shares code with it, on purpose.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};

use crate::checker::{Call, Specification};

/// An operation on the record.
#[derive(Clone)]
pub enum Operation {
    /// [`Table::create`].
    Create(Box<Record>, Option<usize>),
    /// [`Table::claim`].
    Claim(ClaimOn, Lease, Timestamp),
    /// [`Table::commit`].
    Commit(LeaseToken, Box<Commit>),
    /// [`Table::append`].
    Append(Append),
    /// [`Table::settle`].
    Settle,
    /// [`Table::read`].
    Read,
}

/// The answer to an operation.
#[derive(Clone, PartialEq)]
pub enum Answer {
    /// The write was made.
    Applied,
    /// The claim was granted.
    Granted(Box<Record>),
    /// The write or the claim was refused.
    Refused(Option<Box<Record>>),
    /// The record that a read returned.
    Read(Option<Box<Record>>),
}

impl Operation {
    /// Makes the operation on a table.
    pub async fn ask(&self, table: &dyn Table, trace_id: &TraceId) -> Result<Answer, StoreError> {
        let written = |write| match write {
            Write::Applied => Answer::Applied,
            Write::Refused(record) => Answer::Refused(record),
        };
        Ok(match self {
            Self::Create(record, inbox_len) => written(table.create(record, *inbox_len).await?),
            Self::Claim(on, lease, now) => match table.claim(trace_id, on, lease, *now).await? {
                Claim::Granted(record) => Answer::Granted(record),
                Claim::Refused(record) => Answer::Refused(record),
            },
            Self::Commit(token, commit) => written(table.commit(trace_id, token, commit).await?),
            Self::Append(append) => written(table.append(trace_id, append).await?),
            Self::Settle => {
                table.settle(trace_id).await?;
                Answer::Applied
            }
            Self::Read => Answer::Read(table.read(trace_id).await?),
        })
    }
}

impl Answer {
    /// The record that the answer shows.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Applied => None,
            Self::Granted(record) => Some(record),
            Self::Refused(record) | Self::Read(record) => record.as_deref(),
        }
    }
}

/// A record in one line, for the printed history.
struct Short<'a>(Option<&'a Record>);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(record) = self.0 else { return write!(f, "no record") };
        let Record { state, invoke_count, storage, outputs, owed, lease, inbox, consumed, .. } = record;
        write!(f, "{}/{invoke_count} storage {storage} outputs {outputs}", state.name())?;
        if *owed {
            write!(f, " owed")?;
        }
        if let Some(Lease { token, until }) = lease {
            write!(f, " lease {} until {until:?}", name(token.as_str()))?;
        }
        if let Some(deadline) = record.deadline {
            write!(f, " deadline {:?}", deadline.at)?;
        }
        write!(f, " consumed")?;
        consumed.iter().try_for_each(|receipt| write!(f, " {}", name(receipt.as_str())))?;
        write!(f, " inbox")?;
        inbox.iter().try_for_each(|entry| write!(f, " {}", name(entry.receipt.as_str())))
    }
}

/// The beginning of an identifier, enough to tell it from the others.
fn name(id: &str) -> &str {
    id.get(..6).unwrap_or(id)
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(record, inbox_len) => {
                write!(f, "create with inbox {inbox_len:?} ({})", Short(Some(record)))
            }
            Self::Claim(on, Lease { token, until }, now) => {
                match on {
                    ClaimOn::Step(after) => write!(f, "claim step {after}")?,
                    ClaimOn::Receipt(receipt) => write!(f, "claim receipt {}", name(receipt.as_str()))?,
                }
                write!(f, " at {now:?} for {} until {until:?}", name(token.as_str()))
            }
            Self::Commit(token, commit) => {
                let Commit { state, invoke_count, consume, inbox_len, .. } = &**commit;
                write!(f, "commit by {}: {}/{invoke_count}", name(token.as_str()), state.name())?;
                write!(f, " consume {consume} with inbox {inbox_len:?}")
            }
            Self::Append(Append { entry, stub }) => {
                let kind = if stub.is_some() { " (or a stub)" } else { "" };
                write!(f, "append {}{kind}", name(entry.receipt.as_str()))
            }
            Self::Settle => write!(f, "settle"),
            Self::Read => write!(f, "read"),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => write!(f, "applied"),
            Self::Granted(record) => write!(f, "granted ({})", Short(Some(record))),
            Self::Refused(record) => write!(f, "refused ({})", Short(record.as_deref())),
            Self::Read(record) => write!(f, "({})", Short(record.as_deref())),
        }
    }
}

/// The specification of one invocation's record, which may not exist.
#[derive(Debug)]
pub struct OneRecord {
    trace_id: TraceId,
    /// For each callback, the one that some answer shows right after it. The checker skips orders that
    /// contradict it.
    follows: HashMap<Receipt, Receipt>,
}

impl OneRecord {
    /// The specification for a history of this record.
    ///
    /// The order of callbacks never changes, so two that some answer shows side by side were accepted one
    /// right after the other. This holds only if no receipt is appended again after the record forgot it.
    pub fn new(trace_id: TraceId, history: &[Call<Operation, Answer>]) -> Self {
        let mut follows = HashMap::new();
        for record in history.iter().filter_map(|call| call.answer.as_ref()?.record()) {
            let mut order = order(record);
            let Some(mut before) = order.next() else { continue };
            for receipt in order {
                follows.insert(before.clone(), receipt.clone());
                before = receipt;
            }
        }
        Self { trace_id, follows }
    }

    /// The record after an operation whose condition holds.
    fn after(&self, record: Option<&Record>, operation: &Operation) -> Option<Record> {
        match (operation, record) {
            (Operation::Create(new, _), there) => {
                let inbox = there.map(|there| there.inbox.clone()).unwrap_or_default();
                Some(Record { inbox, ..(**new).clone() })
            }
            (Operation::Claim(_, lease, _), Some(record)) => {
                Some(Record { lease: Some(lease.clone()), ..record.clone() })
            }
            (Operation::Commit(_, commit), Some(record)) => Some(committed(record, commit)),
            (Operation::Append(Append { entry, stub }), record) => {
                let stub = stub.map(|(created_at, _)| Record::stub(self.trace_id.clone(), created_at));
                let mut record = record.cloned().or(stub)?;
                if !knows(&record, &entry.receipt) {
                    record.inbox.push(entry.clone());
                }
                Some(record)
            }
            (Operation::Settle, Some(record)) => Some(Record { owed: false, ..record.clone() }),
            (_, record) => record.cloned(),
        }
    }

    /// Whether an append fits the answers: none shows a different callback at the position it would take.
    fn may_be_next(&self, record: Option<&Record>, operation: &Operation) -> bool {
        let Operation::Append(Append { entry, .. }) = operation else { return true };
        let Some(before) = record.and_then(|record| order(record).last()) else { return true };
        let is_known = record.is_some_and(|record| knows(record, &entry.receipt));
        is_known || self.follows.get(before).is_none_or(|follows| *follows == entry.receipt)
    }
}

impl Specification for OneRecord {
    type State = Option<Arc<Record>>;
    type Operation = Operation;
    type Answer = Answer;

    fn step(
        &self,
        state: &Self::State,
        operation: &Operation,
        answer: Option<&Answer>,
    ) -> Option<Self::State> {
        let record = state.as_deref();
        let is_made = is_made(record, operation);
        let fits = match (operation, answer) {
            (_, None) => true,
            (Operation::Read, Some(Answer::Read(shown))) => shown.as_deref() == record,
            (Operation::Claim(..), Some(Answer::Granted(_)))
            | (
                Operation::Create(..) | Operation::Commit(..) | Operation::Append(_) | Operation::Settle,
                Some(Answer::Applied),
            ) => is_made,
            (
                Operation::Create(..) | Operation::Claim(..) | Operation::Commit(..) | Operation::Append(_),
                Some(Answer::Refused(shown)),
            ) => !is_made && shown.as_deref() == record,
            _ => false,
        };
        if !fits || !is_made {
            return fits.then(|| state.clone());
        }
        if !self.may_be_next(record, operation) {
            return None;
        }
        let after = self.after(record, operation);
        match answer {
            Some(Answer::Granted(shown)) if after.as_ref() != Some(&**shown) => None,
            _ => Some(after.map(Arc::new)),
        }
    }

    fn is_pure(&self, _operation: &Operation, answer: &Answer) -> bool {
        matches!(answer, Answer::Refused(_) | Answer::Read(_))
    }

    fn tell(&self, state: &Self::State) -> String {
        Short(state.as_deref()).to_string()
    }
}

/// The receipts of all callbacks that a record knows, in the order of acceptance.
fn order(record: &Record) -> impl Iterator<Item = &Receipt> {
    record.consumed.iter().chain(record.inbox.iter().map(|entry| &entry.receipt))
}

fn knows(record: &Record, receipt: &Receipt) -> bool {
    order(record).any(|known| known == receipt)
}

/// Whether the condition of an operation holds, so that it changes the record. Never for a read, always for a
/// settle.
fn is_made(record: Option<&Record>, operation: &Operation) -> bool {
    match (operation, record) {
        (Operation::Create(_, inbox_len), there) => {
            let length = there.map_or(0, |there| there.inbox.len());
            there.is_none_or(Record::is_stub) && inbox_len.is_none_or(|known| known == length)
        }
        (Operation::Claim(on, _, now), Some(record)) => may_claim(record, on, *now),
        (Operation::Commit(token, commit), Some(record)) => may_commit(record, token, commit),
        (Operation::Claim(..) | Operation::Commit(..), None) | (Operation::Read, _) => false,
        (Operation::Append(append), None) => append.stub.is_some(),
        (Operation::Append(append), Some(record)) => {
            !record.state.is_finished() || knows(record, &append.entry.receipt)
        }
        (Operation::Settle, _) => true,
    }
}

fn may_claim(record: &Record, on: &ClaimOn, now: Timestamp) -> bool {
    let is_there = match (on, record.state) {
        (ClaimOn::Step(after), State::Poll) => record.invoke_count == *after,
        (ClaimOn::Step(after), State::Callback) => {
            let is_over = record.deadline.is_some_and(|deadline| deadline.at <= now);
            record.invoke_count == *after && (is_over || !record.inbox.is_empty())
        }
        (ClaimOn::Receipt(receipt), State::Callback) => {
            record.inbox.iter().any(|entry| entry.receipt == *receipt)
        }
        _ => false,
    };
    is_there && record.lease.as_ref().is_none_or(|lease| lease.until <= now)
}

fn may_commit(record: &Record, token: &LeaseToken, commit: &Commit) -> bool {
    let holds = record.lease.as_ref().is_some_and(|lease| lease.token == *token);
    let fits = commit.inbox_len.is_none_or(|length| length == record.inbox.len());
    holds && fits && !(commit.consume && record.inbox.is_empty())
}

fn committed(record: &Record, commit: &Commit) -> Record {
    let mut next = Record {
        state: commit.state,
        invoke_count: commit.invoke_count,
        storage: commit.storage.clone().unwrap_or_else(|| record.storage.clone()),
        outputs: commit.outputs.clone().unwrap_or_else(|| record.outputs.clone()),
        err: commit.err.clone(),
        deadline: commit.deadline,
        owed: commit.owed,
        lease: None,
        finish_at: commit.finish_at,
        ..record.clone()
    };
    if commit.consume {
        next.consumed.push(next.inbox.remove(0).receipt);
        let forgotten = next.consumed.len().saturating_sub(Record::CONSUMED_KEPT);
        next.consumed.drain(..forgotten);
    }
    next
}
