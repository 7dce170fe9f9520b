//! The port to the invocation table: one record a trace_id, changed by conditional updates only.
//!
//! Every method is one atomic change of one record, so that it can be one request to DynamoDB, or one statement or
//! transaction of a database. A condition that does not hold is not an error: the caller gets the current record and
//! decides.
//!
//! The changes and reads of one record are linearizable: each takes effect at one moment between call and answer, and a
//! refusal shows the record for which the condition did not hold. The crate `contract` has the tests that every
//! implementation passes.

use async_trait::async_trait;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{LeaseToken, Receipt, TraceId};
use crate::message_group::MessageGroup;
use crate::record::{Deadline, InboxEntry, Lease, Record, State};
use crate::store_error::StoreError;

/// The condition of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOn {
    /// The step after this many committed ones. In CALLBACK the claim is granted only if the inbox is not empty or the
    /// deadline has passed.
    Step(u32),
    /// The callback with this receipt. The claim is granted if the state is CALLBACK and the receipt is in the inbox.
    Receipt(Receipt),
}

/// How a claim ended.
#[derive(Debug)]
pub enum Claim {
    /// The current record, with the lease on it.
    Granted(Box<Record>),
    /// The current record, if there is one.
    Refused(Option<Box<Record>>),
}

/// How a conditional write ended.
#[derive(Debug)]
pub enum Write {
    /// The change was made.
    Applied,
    /// The condition does not hold. Holds the current record, if there is one.
    Refused(Option<Box<Record>>),
}

/// The result of one step, to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The state entered.
    pub state: State,
    /// Committed steps, this one included.
    pub invoke_count: u32,
    /// What the plugin keeps; `None` leaves the record's storage unchanged.
    pub storage: Option<Value>,
    /// What the plugin has put out; `None` leaves the record's outputs unchanged.
    pub outputs: Option<Value>,
    /// Why the invocation failed; empty otherwise.
    pub err: String,
    /// The end of the wait that begins now, if it has one.
    pub deadline: Option<Deadline>,
    /// Whether the first entry of the inbox is removed, because the step was given it. There must be one.
    pub consume: bool,
    /// Whether a finish callback must be sent now.
    pub owed: bool,
    /// When the invocation ended, if it did.
    pub finish_at: Option<Timestamp>,
    /// When the record may be deleted. Set when the invocation ends: unfinished records are never deleted.
    pub expires_at: Option<Timestamp>,
    /// Required length of the inbox, the entry to be removed included; `None` for any length.
    pub inbox_len: Option<usize>,
}

/// A callback to be added to an inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The callback.
    pub entry: InboxEntry,
    /// Create a stub if there is no record, because the invocation may still be in its first step. Holds (created_at,
    /// expires_at); a later callback may move expires_at later, never earlier.
    pub stub: Option<(Timestamp, Timestamp)>,
}

/// The invocation table.
#[async_trait]
pub trait Table: Send + Sync {
    /// Writes the record after an invocation's first step, if there is no record or only a stub. The stub's inbox is
    /// kept; `record.inbox` itself is not written. With `inbox_len`, writes only if the inbox has that length (0 if
    /// there is no record).
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError>;

    /// Puts `lease` on the record if it is unfinished, is not a stub, is where `on` says, and has no lease that is valid
    /// at `now`. The lease stays on the record until a commit takes it off or another runner takes over, so it shows
    /// that a runner has begun the step, whatever became of that runner. A store that one process owns ends leases when
    /// it opens.
    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError>;

    /// Writes the result of a step and takes the lease off, if the lease on the record is `token` and the inbox is as
    /// `commit` requires. The time does not matter: an expired lease is good until another runner takes over.
    ///
    /// A commit without storage and outputs never fails with `TooLarge`, so that an invocation that outgrew the limit can
    /// still be ended. Tables reserve room for `err` beyond the limit they report.
    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError>;

    /// Adds a callback at the end of the inbox, if the invocation is not finished. A receipt that is in the inbox or was
    /// consumed is not added again. That counts as applied, even if the invocation has finished since: the callback was
    /// accepted, and the process that retries has only missed the answer.
    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError>;

    /// Notes that the finish callback is no longer owed.
    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError>;

    /// The record as the latest write left it.
    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError>;

    /// The group of an invocation's wake-ups. The sender of a wake-up for a callback asks before it sends. A group decides
    /// only who waits for whom, so a table that would need one more paid request may always answer that it does not know,
    /// and so does a table that is unavailable.
    async fn group_of(&self, _trace_id: &TraceId) -> Option<MessageGroup> {
        None
    }

    /// Whether the table answers at all.
    async fn ping(&self) -> Result<(), StoreError>;
}
