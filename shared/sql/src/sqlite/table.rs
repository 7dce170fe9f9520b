//! The statements of the invocation table. The rows of a statement are one parameter, a JSON array.

use std::collections::HashMap;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::State;
use serde::Serialize;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::counters::{Counters, next_number};
use super::parameter::parameter;
use crate::change::Change;
use crate::rows::{HeadRow, RecordRow, StoredInbox, StoredRecord};
use crate::rules::{Entry, Head};
use crate::slot::Slot;
use crate::transaction::{self, Records, Slots};

const RECORDS: &str = "\
    SELECT i.trace_id, i.plugin_version, i.state, i.invoke_count, c.inputs, c.context, \
           c.caller, c.finish_callback, c.trace, i.storage, i.outputs, i.err, i.deadline_at, i.deadline_run, i.owed, \
           l.token AS lease_token, l.until AS lease_until, \
           (SELECT json_group_array(json_array(receipt, callback_id, data) ORDER BY seq) \
            FROM inbox WHERE invocation = i.id) AS inbox, \
           i.consumed, i.created_at, i.finish_at \
    FROM json_each(?1) AS wanted CROSS JOIN invocations AS i ON i.trace_id = wanted.value \
    LEFT JOIN calls AS c ON c.invocation = i.id LEFT JOIN leases AS l ON l.invocation = i.id";

const HEADS: &str = "\
    SELECT i.id, i.trace_id, i.state, i.invoke_count, i.deadline_at, i.deadline_run, i.owed, \
           l.token AS lease_token, l.until AS lease_until, \
           (SELECT json_group_array(json_array(seq, receipt, octet_length(data)) ORDER BY seq) \
            FROM inbox WHERE invocation = i.id) AS inbox, \
           i.consumed, i.finish_at, i.expires_at, \
           coalesce(octet_length(c.inputs), 0) + coalesce(octet_length(c.context), 0) \
               + coalesce(octet_length(c.caller), 0) + coalesce(octet_length(c.finish_callback), 0) AS call_size, \
           octet_length(i.storage) AS storage_size, octet_length(i.outputs) AS outputs_size \
    FROM json_each(?1) AS wanted CROSS JOIN invocations AS i ON i.trace_id = wanted.value \
    LEFT JOIN calls AS c ON c.invocation = i.id LEFT JOIN leases AS l ON l.invocation = i.id";

const INSERT_INVOCATIONS: &str = "\
    INSERT INTO invocations (id, trace_id, state, invoke_count, deadline_at, deadline_run, owed, consumed, \
                             finish_at, expires_at, plugin_version, created_at, err, storage, outputs) \
    SELECT value ->> 'id', value ->> 'trace_id', value ->> 'state', value ->> 'invoke_count', value ->> 'deadline_at', value ->> 'deadline_run', value ->> 'owed', \
           value ->> 'consumed', value ->> 'finish_at', value ->> 'expires_at', value ->> 'plugin_version', value ->> 'created_at', value ->> 'err', value ->> 'storage', \
           value ->> 'outputs' \
    FROM json_each(?1)";

const UPDATE_INVOCATIONS: &str = "\
    UPDATE invocations SET \
        state = value ->> 'state', invoke_count = value ->> 'invoke_count', deadline_at = value ->> 'deadline_at', \
        deadline_run = value ->> 'deadline_run', owed = value ->> 'owed', consumed = value ->> 'consumed', finish_at = value ->> 'finish_at', \
        expires_at = value ->> 'expires_at', plugin_version = coalesce(value ->> 'plugin_version', plugin_version), \
        created_at = coalesce(value ->> 'created_at', created_at), err = coalesce(value ->> 'err', err), \
        storage = coalesce(value ->> 'storage', storage), outputs = coalesce(value ->> 'outputs', outputs) \
    FROM json_each(?1) AS changed WHERE invocations.id = changed.value ->> 'id'";

const INSERT_CALLS: &str = "\
    INSERT INTO calls (invocation, inputs, context, caller, finish_callback, trace) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?1)";

const PUT_LEASES: &str = "\
    INSERT INTO leases (invocation, token, until) \
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true \
    ON CONFLICT (invocation) DO UPDATE SET token = excluded.token, until = excluded.until";

const DELETE_LEASES: &str = "DELETE FROM leases WHERE invocation IN (SELECT value FROM json_each(?1))";

const INSERT_ENTRIES: &str = "\
    INSERT INTO inbox (seq, invocation, receipt, callback_id, data) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1)";

const DELETE_ENTRIES: &str = "DELETE FROM inbox WHERE seq IN (SELECT value FROM json_each(?1))";

const EXPIRE: &str = "\
    DELETE FROM invocations WHERE id IN (\
        SELECT id FROM invocations WHERE expires_at <= ?1 AND state IN (?2, ?3, ?4) LIMIT ?5)";

/// The statements of the hot path.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 10] = [
    RECORDS,
    HEADS,
    INSERT_INVOCATIONS,
    UPDATE_INVOCATIONS,
    INSERT_CALLS,
    PUT_LEASES,
    DELETE_LEASES,
    INSERT_ENTRIES,
    DELETE_ENTRIES,
    EXPIRE,
];

/// A row of [`RECORDS`].
#[derive(sqlx::FromRow)]
struct RecordWithInbox {
    #[sqlx(flatten)]
    row: RecordRow,
    inbox: String,
}

impl From<RecordWithInbox> for StoredRecord {
    fn from(RecordWithInbox { row, inbox }: RecordWithInbox) -> Self {
        Self { row, inbox: StoredInbox::Text(inbox) }
    }
}

/// A row of [`HEADS`].
#[derive(sqlx::FromRow)]
struct HeadWithInbox {
    #[sqlx(flatten)]
    row: HeadRow,
    inbox: String,
}

impl HeadWithInbox {
    fn entries(&self) -> Result<Vec<Entry>, String> {
        let entries: Vec<_> = serde_json::from_str(&self.inbox).map_err(|error| error.to_string())?;
        Ok(entries.into_iter().map(|(seq, receipt, size)| Entry { seq, receipt, size }).collect())
    }
}

/// Reads a record.
pub(super) async fn stored_record(
    readers: &SqlitePool,
    trace_id: &TraceId,
) -> Result<Option<StoredRecord>, sqlx::Error> {
    let wanted = parameter(&[trace_id.as_str()])?;
    let row: Option<RecordWithInbox> = sqlx::query_as(RECORDS).bind(wanted).fetch_optional(readers).await?;
    Ok(row.map(StoredRecord::from))
}

/// Deletes up to `at_most` expired records, and by foreign keys the rows that belong to them.
pub(super) async fn expire(
    connection: &mut SqliteConnection,
    now: Timestamp,
    at_most: u32,
) -> Result<u64, sqlx::Error> {
    let deletable = [State::Empty, State::Success, State::Fail];
    let mut query = sqlx::query(EXPIRE).bind(now.as_millis());
    for state in deletable {
        query = query.bind(u8::from(state));
    }
    Ok(query.bind(at_most).execute(connection).await?.rows_affected())
}

/// The tables of records in the writer's transaction.
pub(super) struct SqliteRecords<'c> {
    pub(super) connection: &'c mut SqliteConnection,
    pub(super) counters: &'c mut Counters,
}

impl Records for SqliteRecords<'_> {
    async fn load<'a>(&mut self, changes: &'a [Change]) -> Result<Slots<'a>, sqlx::Error> {
        let mut slots = transaction::slots(changes);
        let wanted: Vec<_> = slots.keys().collect();
        let rows: Vec<HeadWithInbox> =
            sqlx::query_as(HEADS).bind(parameter(&wanted)?).fetch_all(&mut *self.connection).await?;
        for head in rows {
            transaction::fill(&mut slots, &head.row, head.entries());
        }
        Ok(slots)
    }

    async fn save(&mut self, slots: &Slots<'_>) -> Result<(), sqlx::Error> {
        Rows::of(slots, self.counters)?.write(self.connection).await
    }

    async fn read(&mut self, trace_ids: &[&str]) -> Result<HashMap<String, StoredRecord>, sqlx::Error> {
        let wanted = parameter(trace_ids)?;
        let rows: Vec<RecordWithInbox> =
            sqlx::query_as(RECORDS).bind(wanted).fetch_all(&mut *self.connection).await?;
        Ok(rows.into_iter().map(|record| (record.row.trace_id.clone(), record.into())).collect())
    }
}

/// A row of `invocations`; the statements take it apart by these names.
#[derive(Serialize)]
struct InvocationRow<'a> {
    id: i64,
    trace_id: &'a str,
    state: State,
    invoke_count: u32,
    deadline_at: Option<Timestamp>,
    deadline_run: Option<bool>,
    owed: bool,
    consumed: String,
    finish_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    plugin_version: Option<&'a str>,
    created_at: Option<Timestamp>,
    err: Option<&'a str>,
    storage: Option<&'a str>,
    outputs: Option<&'a str>,
}

/// A row of `calls`: invocation, inputs, context, caller, finish callback, trace.
type CallRow<'a> = (i64, &'a str, &'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// The rows to be written, by statement.
#[derive(Default)]
struct Rows<'a> {
    new: Vec<InvocationRow<'a>>,
    changed: Vec<InvocationRow<'a>>,
    calls: Vec<CallRow<'a>>,
    leased: Vec<(i64, &'a str, i64)>,
    freed: Vec<i64>,
    added: Vec<(i64, i64, &'a str, &'a str, &'a str)>,
    removed: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn of(slots: &'a Slots<'a>, counters: &mut Counters) -> Result<Self, sqlx::Error> {
        let mut rows = Self::default();
        for (trace_id, slot, head) in transaction::existing(slots) {
            rows.add(trace_id, slot, head, counters)?;
        }
        Ok(rows)
    }

    fn add(
        &mut self,
        trace_id: &'a str,
        slot: &'a Slot<'a>,
        head: &'a Head,
        counters: &mut Counters,
    ) -> Result<(), sqlx::Error> {
        let id = slot.id.unwrap_or_else(|| next_number(&mut counters.invocation));
        if slot.row_changed {
            let rows = if slot.id.is_some() { &mut self.changed } else { &mut self.new };
            rows.push(InvocationRow::of(id, trace_id, slot, head)?);
        }
        if let Some(new) = slot.created {
            let (caller, finish_callback) = (new.caller.as_deref(), new.finish_callback.as_deref());
            let trace = new.trace.as_deref();
            self.calls.push((id, &new.inputs, &new.context, caller, finish_callback, trace));
        }
        match &head.lease {
            _ if !slot.lease_changed => (),
            Some(lease) => self.leased.push((id, lease.token.as_str(), lease.until.as_millis())),
            None => self.freed.push(id),
        }
        let added = slot.added.iter().map(|(_, entry)| {
            let seq = next_number(&mut counters.entry);
            (seq, id, entry.receipt.as_str(), entry.callback_id.as_str(), entry.data.as_str())
        });
        self.added.extend(added);
        self.removed.extend(&slot.removed);
        Ok(())
    }

    /// Writes the rows, first those that others refer to.
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        execute(connection, INSERT_INVOCATIONS, &self.new).await?;
        execute(connection, UPDATE_INVOCATIONS, &self.changed).await?;
        execute(connection, INSERT_CALLS, &self.calls).await?;
        execute(connection, PUT_LEASES, &self.leased).await?;
        execute(connection, DELETE_LEASES, &self.freed).await?;
        execute(connection, INSERT_ENTRIES, &self.added).await?;
        execute(connection, DELETE_ENTRIES, &self.removed).await
    }
}

impl<'a> InvocationRow<'a> {
    fn of(id: i64, trace_id: &'a str, slot: &Slot<'a>, head: &Head) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id,
            trace_id,
            state: head.state,
            invoke_count: head.invoke_count,
            deadline_at: head.deadline.map(|deadline| deadline.at),
            deadline_run: head.deadline.map(|deadline| deadline.run),
            owed: head.owed,
            consumed: parameter(&head.consumed)?,
            finish_at: head.finish_at,
            expires_at: head.expires_at,
            plugin_version: slot.texts.plugin_version,
            created_at: slot.texts.created_at,
            err: slot.texts.err,
            storage: slot.texts.storage,
            outputs: slot.texts.outputs,
        })
    }
}

async fn execute<T: Serialize>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    rows: &[T],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(sql).bind(parameter(rows)?).execute(connection).await.map(drop)
}
