//! Records as the texts and numbers of database rows.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{CallbackId, LeaseToken, Receipt, TraceId};
use bk_plugin_core::record::{Deadline, InboxEntry, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Commit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::rules::{Entry, Head, Sizes, Step};

pub(crate) type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// A record as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
    pub(crate) row: RecordRow,
    pub(crate) inbox: StoredInbox,
}

/// An inbox as it is stored.
#[derive(Debug, Clone)]
pub(crate) enum StoredInbox {
    /// One JSON text: an array of [`EntryRow`]s as arrays.
    Text(String),
    /// Row by row.
    Rows(Vec<EntryRow>),
}

/// A callback as it is stored.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(crate) struct EntryRow {
    receipt: String,
    callback_id: String,
    data: String,
}

/// A record as it is stored, without its inbox.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct RecordRow {
    pub(crate) trace_id: String,
    plugin_version: String,
    state: i64,
    invoke_count: i64,
    inputs: Option<String>,
    context: Option<String>,
    caller: Option<String>,
    finish_callback: Option<String>,
    trace: Option<String>,
    storage: String,
    outputs: String,
    err: String,
    deadline_at: Option<i64>,
    deadline_run: Option<i64>,
    owed: i64,
    lease_token: Option<String>,
    lease_until: Option<i64>,
    consumed: String,
    created_at: i64,
    finish_at: Option<i64>,
}

impl StoredRecord {
    /// Parses the texts. The caller that asked for the record does this, not the writer, which all callers wait
    /// for.
    pub(crate) fn decode(self) -> Result<Box<Record>, StoreError> {
        let trace_id = self.row.trace_id.clone();
        let record = self.inbox.decode().and_then(|inbox| self.row.decode(inbox));
        record.map(Box::new).map_err(|source| unreadable_record(&trace_id, source))
    }
}

impl StoredInbox {
    fn decode(self) -> Result<Vec<InboxEntry>, Unreadable> {
        let rows = match self {
            Self::Text(text) => json(&text)?,
            Self::Rows(rows) => rows,
        };
        rows.iter().map(EntryRow::decode).collect()
    }
}

impl EntryRow {
    fn decode(&self) -> Result<InboxEntry, Unreadable> {
        Ok(InboxEntry {
            receipt: Receipt::parse(&self.receipt)?,
            callback_id: CallbackId::parse(&self.callback_id)?,
            data: json(&self.data)?,
        })
    }
}

impl RecordRow {
    fn decode(self, inbox: Vec<InboxEntry>) -> Result<Record, Unreadable> {
        Ok(Record {
            trace_id: TraceId::parse(&self.trace_id)?,
            plugin_version: self.plugin_version,
            state: state(self.state)?,
            invoke_count: u32::try_from(self.invoke_count)?,
            inputs: self.inputs.as_deref().map(json).transpose()?.unwrap_or_default(),
            context: self.context.as_deref().map(json).transpose()?.unwrap_or_default(),
            caller: self.caller.as_deref().map(json).transpose()?.unwrap_or_default(),
            storage: json(&self.storage)?,
            outputs: json(&self.outputs)?,
            err: json(&self.err)?,
            deadline: deadline(self.deadline_at, self.deadline_run),
            finish_callback: self.finish_callback.as_deref().map(json).transpose()?,
            trace: self.trace.as_deref().map(json).transpose()?.unwrap_or_default(),
            owed: self.owed != 0,
            lease: lease(self.lease_token.as_deref(), self.lease_until)?,
            inbox,
            consumed: json(&self.consumed)?,
            created_at: Timestamp::from_millis(self.created_at),
            finish_at: self.finish_at.map(Timestamp::from_millis),
        })
    }
}

/// A [`Head`] as it is stored, without its inbox.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct HeadRow {
    pub(crate) id: i64,
    pub(crate) trace_id: String,
    state: i64,
    invoke_count: i64,
    deadline_at: Option<i64>,
    deadline_run: Option<i64>,
    owed: i64,
    lease_token: Option<String>,
    lease_until: Option<i64>,
    consumed: String,
    finish_at: Option<i64>,
    expires_at: Option<i64>,
    call_size: i64,
    storage_size: i64,
    outputs_size: i64,
}

impl HeadRow {
    pub(crate) fn decode(&self, inbox: Vec<Entry>) -> Result<Head, Unreadable> {
        Ok(Head {
            state: state(self.state)?,
            invoke_count: u32::try_from(self.invoke_count)?,
            deadline: deadline(self.deadline_at, self.deadline_run),
            owed: self.owed != 0,
            lease: lease(self.lease_token.as_deref(), self.lease_until)?,
            inbox,
            consumed: json(&self.consumed)?,
            finish_at: self.finish_at.map(Timestamp::from_millis),
            expires_at: self.expires_at.map(Timestamp::from_millis),
            sizes: Sizes {
                call: usize::try_from(self.call_size)?,
                storage: usize::try_from(self.storage_size)?,
                outputs: usize::try_from(self.outputs_size)?,
            },
        })
    }
}

/// A new record, ready to be written.
#[derive(Debug)]
pub(crate) struct NewRecord {
    pub(crate) head: Head,
    pub(crate) plugin_version: String,
    pub(crate) created_at: Timestamp,
    pub(crate) inputs: String,
    pub(crate) context: String,
    /// `None` if the caller is unknown.
    pub(crate) caller: Option<String>,
    pub(crate) finish_callback: Option<String>,
    pub(crate) trace: Option<String>,
    pub(crate) storage: String,
    pub(crate) outputs: String,
    pub(crate) err: String,
}

impl NewRecord {
    pub(crate) fn of(record: &Record) -> Result<Self, StoreError> {
        let inputs = text(&record.inputs)?;
        let context = text(&record.context)?;
        let caller = (!record.caller.is_unknown()).then(|| text(&record.caller)).transpose()?;
        let finish_callback = record.finish_callback.as_ref().map(text).transpose()?;
        let storage = text(&record.storage)?;
        let outputs = text(&record.outputs)?;
        let sizes = Sizes {
            call: inputs.len()
                + context.len()
                + caller.as_ref().map_or(0, String::len)
                + finish_callback.as_ref().map_or(0, String::len),
            storage: storage.len(),
            outputs: outputs.len(),
        };
        Ok(Self {
            head: Head::of(record, sizes),
            plugin_version: record.plugin_version.clone(),
            created_at: record.created_at,
            inputs,
            context,
            caller,
            finish_callback,
            trace: (!record.trace.is_empty()).then(|| text(&record.trace)).transpose()?,
            storage,
            outputs,
            err: text(&record.err)?,
        })
    }
}

/// The result of a step, ready to be written.
#[derive(Debug)]
pub(crate) struct NewStep {
    pub(crate) step: Step,
    pub(crate) storage: Option<String>,
    pub(crate) outputs: Option<String>,
    pub(crate) err: String,
}

impl NewStep {
    pub(crate) fn of(commit: &Commit) -> Result<Self, StoreError> {
        let storage = commit.storage.as_ref().map(text).transpose()?;
        let outputs = commit.outputs.as_ref().map(text).transpose()?;
        Ok(Self {
            step: Step {
                state: commit.state,
                invoke_count: commit.invoke_count,
                deadline: commit.deadline,
                consume: commit.consume,
                owed: commit.owed,
                finish_at: commit.finish_at,
                expires_at: commit.expires_at,
                inbox_len: commit.inbox_len,
                storage: storage.as_ref().map(String::len),
                outputs: outputs.as_ref().map(String::len),
            },
            storage,
            outputs,
            err: text(&commit.err)?,
        })
    }
}

/// A callback, ready to be written.
#[derive(Debug)]
pub(crate) struct NewEntry {
    pub(crate) receipt: Receipt,
    pub(crate) callback_id: CallbackId,
    pub(crate) data: String,
    /// When a stub that is made for it is created, and when it expires.
    pub(crate) stub: Option<(Timestamp, Timestamp)>,
}

impl NewEntry {
    pub(crate) fn of(append: &Append) -> Result<Self, StoreError> {
        Ok(Self {
            receipt: append.entry.receipt.clone(),
            callback_id: append.entry.callback_id.clone(),
            data: text(&append.entry.data)?,
            stub: append.stub,
        })
    }
}

/// The error for a record that cannot be read.
pub(crate) fn unreadable_record(trace_id: &str, source: Unreadable) -> StoreError {
    StoreError::Unreadable { what: format!("record of invocation {trace_id}"), source }
}

/// A value as JSON text, in which a NUL is escaped: a plugin's strings may hold one, text in a database may not.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Unreadable {
        what: "value that was to be written".to_owned(),
        source: source.into(),
    })
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    Ok(serde_json::from_str(text)?)
}

fn state(number: i64) -> Result<State, Unreadable> {
    Ok(State::try_from(u8::try_from(number)?)?)
}

fn deadline(at: Option<i64>, run: Option<i64>) -> Option<Deadline> {
    Some(Deadline { at: Timestamp::from_millis(at?), run: run? != 0 })
}

fn lease(token: Option<&str>, until: Option<i64>) -> Result<Option<Lease>, Unreadable> {
    let (Some(token), Some(until)) = (token, until) else { return Ok(None) };
    Ok(Some(Lease { token: LeaseToken::parse(token)?, until: Timestamp::from_millis(until) }))
}
