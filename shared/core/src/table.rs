//! The port to the invocation table: one record a trace_id, changed by conditional updates only.
//!
//! Every method is one atomic change of one record, so that it can be one request to DynamoDB or one
//! statement or transaction of a database. A condition that does not hold is no error: the caller gets the
//! record as it is and decides.
//!
//! The changes and reads of one record are linearizable: each takes effect at one moment between call and
//! answer, and the record a refusal shows is the one that did not fit. The crate `contract` has the tests that
//! every implementation passes.

use async_trait::async_trait;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{LeaseToken, Receipt, TraceId};
use crate::record::{Deadline, InboxEntry, Lease, Record, State};
use crate::store_error::StoreError;

/// What a claim is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOn {
    /// The step after this many committed ones. In CALLBACK only if the inbox is not empty or the
    /// deadline has passed.
    Step(u32),
    /// The callback with this receipt: the state is CALLBACK and the receipt is in the inbox.
    Receipt(Receipt),
}

/// How a claim ended.
#[derive(Debug)]
pub enum Claim {
    /// The record as it is now, with the lease on it.
    Granted(Box<Record>),
    /// The record as it is, if there is one.
    Refused(Option<Box<Record>>),
}

/// How a conditional write ended.
#[derive(Debug)]
pub enum Write {
    /// The change was made.
    Applied,
    /// The condition does not hold; the record as it is, if there is one.
    Refused(Option<Box<Record>>),
}

/// The result of one step, to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The state entered.
    pub state: State,
    /// Steps committed with this one.
    pub invoke_count: u32,
    /// What the plugin keeps; `None` leaves it as it was.
    pub storage: Option<Value>,
    /// What the plugin has put out; `None` leaves it as it was.
    pub outputs: Option<Value>,
    /// Why the invocation failed; empty otherwise.
    pub err: String,
    /// The end of the wait that begins.
    pub deadline: Option<Deadline>,
    /// Whether the first entry of the inbox goes, because the step was given it. There must be one.
    pub consume: bool,
    /// Whether a finish callback has to be sent now.
    pub owed: bool,
    /// When the invocation ended, if it did.
    pub finish_at: Option<Timestamp>,
    /// When the record may be deleted; set on a finished one. No other is ever deleted.
    pub expires_at: Option<Timestamp>,
    /// Length the inbox must have, the entry to be consumed included; `None` if any will do.
    pub inbox_len: Option<usize>,
}

/// A callback to be added to an inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The callback.
    pub entry: InboxEntry,
    /// Make a stub if there is no record: the invocation may be in its first step. Holds the stub's
    /// creation and the time it may be deleted, which a later callback puts off, never forward.
    pub stub: Option<(Timestamp, Timestamp)>,
}

/// The invocation table.
#[async_trait]
pub trait Table: Send + Sync {
    /// Writes the record of an invocation's first step, if there is none or only a stub, whose inbox is
    /// kept (`record.inbox` itself is not written). With `inbox_len`, only if the inbox has that length
    /// (no record: 0).
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError>;

    /// Puts `lease` on the record if it is unfinished, not a stub, is where `on` says, and has no lease
    /// that lives at `now`.
    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError>;

    /// Writes the result of a step and takes the lease off, if the lease on the record is `token` and the
    /// inbox is as `commit` wants it. The time is not looked at: a lease that has expired is good until
    /// somebody takes it over.
    ///
    /// With neither storage nor outputs it is never too large, so that an invocation whose state is too large
    /// can be ended: a table keeps room for `err` above the limit it tells.
    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError>;

    /// Adds a callback at the end of the inbox, if the invocation is not finished. A receipt that is in
    /// the inbox or was consumed already is not added again; that counts as applied, also if the invocation
    /// has finished since: it was accepted, and who asks again has only missed the answer.
    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError>;

    /// Notes that the finish callback is not owed any more.
    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError>;

    /// The record as of the latest write.
    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError>;

    /// Whether a lease stays on its record when its holder dies, until a commit takes it off or somebody takes it
    /// over. It tells then that a step was started. A store that one process owns takes leases off when it opens.
    fn keeps_leases(&self) -> bool {
        false
    }

    /// Whether the table answers at all.
    async fn ping(&self) -> Result<(), StoreError>;
}
