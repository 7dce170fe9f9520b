//! What one record does when it is changed by one client at a time: the port `Table`, written down as a
//! function. It is kept apart from every store on purpose.

use std::collections::HashMap;

use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_kit::record::{Lease, Record, State};
use bk_plugin_kit::table::{Append, Claim, ClaimOn, Commit, StoreError, Table, Write};

use crate::checker::{Call, Specification};

/// What a client asks of the record.
#[derive(Debug, Clone)]
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

/// What a client is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The write was made.
    Applied,
    /// The claim was granted.
    Granted(Box<Record>),
    /// The write or the claim was refused.
    Refused(Option<Box<Record>>),
    /// The record, for a read.
    Read(Option<Box<Record>>),
}

impl Operation {
    /// Asks a table.
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
    /// The record the answer shows.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Applied => None,
            Self::Granted(record) => Some(record),
            Self::Refused(record) | Self::Read(record) => record.as_deref(),
        }
    }
}

/// The record of one invocation, which may not be there.
#[derive(Debug)]
pub struct OneRecord {
    trace_id: TraceId,
    /// Which callback was seen to come right after which: what does not fit it need not be tried.
    follows: HashMap<Receipt, Receipt>,
}

impl OneRecord {
    /// The specification for a history of this record.
    ///
    /// Callbacks are kept in one order for ever, so two that some answer shows side by side came one right
    /// after the other. A receipt must not be appended again after it was forgotten.
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

    fn change(&self, record: Option<&Record>, operation: &Operation) -> Result<Record, Answer> {
        let refused = || Answer::Refused(record.cloned().map(Box::new));
        match operation {
            Operation::Create(new, inbox_len) => create(record, new, *inbox_len).ok_or_else(refused),
            Operation::Claim(on, lease, now) => {
                let record = record.filter(|record| may_claim(record, on, *now)).ok_or_else(refused)?;
                Ok(Record { lease: Some(lease.clone()), ..record.clone() })
            }
            Operation::Commit(token, commit) => {
                let record = record.filter(|record| may_commit(record, token, commit)).ok_or_else(refused)?;
                Ok(committed(record, commit))
            }
            Operation::Append(append) => self.append(record, append).ok_or_else(refused),
            Operation::Settle => {
                let record = record.ok_or(Answer::Applied)?;
                Ok(Record { owed: false, ..record.clone() })
            }
            Operation::Read => Err(Answer::Read(record.cloned().map(Box::new))),
        }
    }

    fn append(&self, record: Option<&Record>, append: &Append) -> Option<Record> {
        let mut record = match (record, append.stub) {
            (Some(record), _) => record.clone(),
            (None, Some((created_at, _))) => Record::stub(self.trace_id.clone(), created_at),
            (None, None) => return None,
        };
        if order(&record).any(|receipt| *receipt == append.entry.receipt) {
            return Some(record);
        }
        if record.state.is_finished() {
            return None;
        }
        record.inbox.push(append.entry.clone());
        Some(record)
    }
}

impl Specification for OneRecord {
    type State = Option<Record>;
    type Operation = Operation;
    type Answer = Answer;

    fn apply(&self, state: &Option<Record>, operation: &Operation) -> (Option<Record>, Answer) {
        match self.change(state.as_ref(), operation) {
            Ok(record) => {
                let answer = match operation {
                    Operation::Claim(..) => Answer::Granted(Box::new(record.clone())),
                    _ => Answer::Applied,
                };
                (Some(record), answer)
            }
            Err(answer) => (state.clone(), answer),
        }
    }

    fn may_lead_on(&self, state: &Option<Record>) -> bool {
        let Some(record) = state else { return true };
        let order: Vec<_> = order(record).collect();
        let [.., before, last] = &order[..] else { return true };
        self.follows.get(*before).is_none_or(|follows| follows == *last)
    }
}

/// The receipts of all callbacks a record knows, in the order they were accepted.
fn order(record: &Record) -> impl Iterator<Item = &Receipt> {
    record.consumed.iter().chain(record.inbox.iter().map(|entry| &entry.receipt))
}

fn create(there: Option<&Record>, new: &Record, inbox_len: Option<usize>) -> Option<Record> {
    let inbox = there.map(|there| there.inbox.clone()).unwrap_or_default();
    let is_free = there.is_none_or(Record::is_stub);
    let fits = inbox_len.is_none_or(|length| length == inbox.len());
    (is_free && fits).then(|| Record { inbox, ..new.clone() })
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
