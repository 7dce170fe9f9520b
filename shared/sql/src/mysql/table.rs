//! The statements of the invocation table.

use std::collections::HashMap;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{Receipt, TraceId};
use bk_plugin_core::record::State;
use sqlx::mysql::{MySql, MySqlConnection};
use sqlx::query_builder::Separated;
use sqlx::{Acquire as _, QueryBuilder};

use super::statement::{portions, push_list};
use crate::change::Change;
use crate::rows::{EntryRow, HeadRow, NewEntry, NewRecord, RecordRow, StoredInbox, StoredRecord};
use crate::rules::{Entry, Head};
use crate::slot::Slot;
use crate::transaction::{self, Records, Slots};

/// The index is named because MySQL would answer a list that is long beside a small table by a scan of the whole
/// table, and wait for the rows that other processes have locked.
const HEADS: &str = "\
    SELECT id, trace_id, state, invoke_count, deadline_at, deadline_run, owed, lease_token, lease_until, \
           consumed, finish_at, expires_at, call_size, storage_size, outputs_size, inbox_len \
    FROM bk_plugin_invocations FORCE INDEX (by_trace_id) WHERE trace_id IN (";

const ENTRIES: &str = "\
    SELECT invocation, seq, receipt, octet_length(data) AS size FROM bk_plugin_inbox FORCE INDEX (PRIMARY) \
    WHERE invocation IN (";

const RECORDS: &str = "\
    SELECT i.id, i.trace_id, i.plugin_version, i.state, i.invoke_count, c.inputs, c.context, \
           c.caller, c.finish_callback, c.trace, i.storage, i.outputs, i.err, i.deadline_at, i.deadline_run, i.owed, \
           i.lease_token, i.lease_until, i.consumed, i.created_at, i.finish_at, i.inbox_len \
    FROM bk_plugin_invocations AS i FORCE INDEX (by_trace_id) \
    LEFT JOIN bk_plugin_calls AS c ON c.invocation = i.id WHERE i.trace_id IN (";

const INBOXES: &str = "\
    SELECT invocation, receipt, callback_id, data FROM bk_plugin_inbox FORCE INDEX (PRIMARY) \
    WHERE invocation IN (";

const INSERT_INVOCATIONS: &str = "\
    INSERT INTO bk_plugin_invocations \
        (id, trace_id, state, invoke_count, deadline_at, deadline_run, owed, lease_token, lease_until, \
         inbox_len, consumed, finish_at, expires_at, call_size, storage_size, outputs_size, plugin_version, \
         created_at, err, storage, outputs) ";

/// Makes an update of an INSERT of existing rows: that is how MySQL gives many rows values of their own. NULL in a
/// column that never holds it leaves the column as it was. (MySQL 8 has a newer word for `VALUES()`, which the
/// others do not know.)
const OR_UPDATE: &str = "\
    ON DUPLICATE KEY UPDATE \
        state = VALUES(state), invoke_count = VALUES(invoke_count), deadline_at = VALUES(deadline_at), \
        deadline_run = VALUES(deadline_run), owed = VALUES(owed), lease_token = VALUES(lease_token), \
        lease_until = VALUES(lease_until), inbox_len = VALUES(inbox_len), consumed = VALUES(consumed), \
        finish_at = VALUES(finish_at), expires_at = VALUES(expires_at), call_size = VALUES(call_size), \
        storage_size = VALUES(storage_size), outputs_size = VALUES(outputs_size), \
        plugin_version = coalesce(VALUES(plugin_version), plugin_version), \
        created_at = coalesce(VALUES(created_at), created_at), err = coalesce(VALUES(err), err), \
        storage = coalesce(VALUES(storage), storage), outputs = coalesce(VALUES(outputs), outputs)";

const INSERT_CALLS: &str =
    "INSERT INTO bk_plugin_calls (invocation, inputs, context, caller, finish_callback, trace) ";

const INSERT_ENTRIES: &str = "INSERT INTO bk_plugin_inbox (invocation, seq, receipt, callback_id, data) ";

const DELETE_ENTRIES: &str = "DELETE e FROM bk_plugin_inbox AS e FORCE INDEX (PRIMARY) WHERE ";

const EXPIRED: &str = "\
    SELECT id FROM bk_plugin_invocations FORCE INDEX (by_expiry) \
    WHERE expires_at <= ? AND state IN (?, ?, ?) ORDER BY expires_at LIMIT ?";

/// A row of [`HEADS`].
#[derive(sqlx::FromRow)]
struct LockedHead {
    #[sqlx(flatten)]
    row: HeadRow,
    inbox_len: i64,
}

/// A row of [`ENTRIES`].
#[derive(sqlx::FromRow)]
struct EntrySize {
    invocation: i64,
    seq: i64,
    receipt: String,
    size: i64,
}

/// A row of [`RECORDS`].
#[derive(sqlx::FromRow)]
struct NumberedRecord {
    id: i64,
    #[sqlx(flatten)]
    row: RecordRow,
    inbox_len: i64,
}

/// A row of [`INBOXES`].
#[derive(sqlx::FromRow)]
struct NumberedEntry {
    invocation: i64,
    #[sqlx(flatten)]
    row: EntryRow,
}

/// Reads a record.
pub(super) async fn stored_record(
    reader: &mut MySqlConnection,
    trace_id: &TraceId,
) -> Result<Option<StoredRecord>, sqlx::Error> {
    let trace_ids = [trace_id.as_str()];
    let rows = record_rows(&mut *reader, &trace_ids).await?;
    let mut records = if rows.iter().any(|row| row.inbox_len > 0) {
        // Both statements see the same moment.
        let mut transaction = reader.begin().await?;
        let records = records(&mut transaction, &trace_ids).await?;
        transaction.rollback().await?;
        records
    } else {
        join(rows, Vec::new())
    };
    Ok(records.remove(trace_id.as_str()))
}

/// Deletes up to `at_most` expired records, and the rows that belong to them.
pub(super) async fn expire(
    connection: &mut MySqlConnection,
    now: Timestamp,
    at_most: u32,
) -> Result<u64, sqlx::Error> {
    let states = [State::Empty, State::Success, State::Fail].map(u8::from);
    let mut expired = sqlx::query_scalar(EXPIRED).bind(now.as_millis());
    for state in states {
        expired = expired.bind(state);
    }
    let ids: Vec<i64> = expired.bind(at_most).fetch_all(&mut *connection).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    // Another process may be deleting the same records, and a callback may have put off the expiry of a stub.
    let mut locked = QueryBuilder::<MySql>::new(
        "SELECT id FROM bk_plugin_invocations FORCE INDEX (PRIMARY) WHERE expires_at <= ",
    );
    locked.push_bind(now.as_millis()).push(" AND state IN (");
    push_list(&mut locked, states);
    locked.push(") AND id IN (");
    push_list(&mut locked, ids);
    locked.push(") FOR UPDATE");
    let ids: Vec<i64> = locked.build_query_scalar().fetch_all(&mut *connection).await?;
    for (table, key) in [
        ("bk_plugin_calls", "invocation"),
        ("bk_plugin_inbox", "invocation"),
        ("bk_plugin_invocations", "id"),
    ] {
        if !ids.is_empty() {
            let mut query = QueryBuilder::<MySql>::new("DELETE t FROM ");
            query.push(table).push(" AS t FORCE INDEX (PRIMARY) WHERE t.").push(key).push(" IN (");
            push_list(&mut query, ids.iter().copied());
            query.push(")");
            query.build().execute(&mut *connection).await?;
        }
    }
    Ok(ids.len() as u64)
}

/// The tables of records in the writer's transaction.
pub(super) struct MysqlRecords<'c> {
    pub(super) connection: &'c mut MySqlConnection,
    /// Bytes that a statement may have.
    pub(super) packet: usize,
}

impl Records for MysqlRecords<'_> {
    /// Locks the records and reads their heads, then their inboxes: a process writes these only under the lock.
    async fn load<'a>(&mut self, changes: &'a [Change]) -> Result<Slots<'a>, sqlx::Error> {
        let mut slots = transaction::slots(changes);
        let mut query = QueryBuilder::<MySql>::new(HEADS);
        push_list(&mut query, slots.keys().copied());
        query.push(") ORDER BY trace_id FOR UPDATE");
        let heads: Vec<LockedHead> = query.build_query_as().fetch_all(&mut *self.connection).await?;
        let with_inbox: Vec<_> =
            heads.iter().filter(|head| head.inbox_len > 0).map(|head| head.row.id).collect();
        let mut inboxes = entries(self.connection, &with_inbox).await?;
        for head in heads {
            let inbox = inboxes.remove(&head.row.id).unwrap_or(Ok(Vec::new()));
            transaction::fill(&mut slots, &head.row, inbox);
        }
        Ok(slots)
    }

    async fn save(&mut self, slots: &Slots<'_>) -> Result<(), sqlx::Error> {
        Rows::of(slots).write(self.connection, self.packet).await
    }

    async fn read(&mut self, trace_ids: &[&str]) -> Result<HashMap<String, StoredRecord>, sqlx::Error> {
        records(self.connection, trace_ids).await
    }
}

async fn entries(
    connection: &mut MySqlConnection,
    invocations: &[i64],
) -> Result<HashMap<i64, Result<Vec<Entry>, String>>, sqlx::Error> {
    let mut inboxes = HashMap::new();
    if invocations.is_empty() {
        return Ok(inboxes);
    }
    let mut query = QueryBuilder::<MySql>::new(ENTRIES);
    push_list(&mut query, invocations.iter().copied());
    query.push(") ORDER BY invocation, seq");
    let rows: Vec<EntrySize> = query.build_query_as().fetch_all(connection).await?;
    for EntrySize { invocation, seq, receipt, size } in rows {
        let inbox = inboxes.entry(invocation).or_insert(Ok(Vec::new()));
        match (Receipt::parse(&receipt), inbox.as_mut()) {
            (Ok(receipt), Ok(inbox)) => {
                inbox.push(Entry { seq, receipt, size: usize::try_from(size).unwrap_or(usize::MAX) });
            }
            (Err(error), Ok(_)) => *inbox = Err(error.to_string()),
            (_, Err(_)) => {}
        }
    }
    Ok(inboxes)
}

/// A row of `bk_plugin_invocations` to be written.
#[derive(Clone, Copy)]
struct InvocationRow<'a> {
    trace_id: &'a str,
    slot: &'a Slot<'a>,
    head: &'a Head,
}

/// The rows to be written, by statement. The database numbers new rows of `bk_plugin_invocations`; rows that
/// belong to them are kept by trace_id until then.
#[derive(Default)]
struct Rows<'a> {
    new: Vec<InvocationRow<'a>>,
    changed: Vec<InvocationRow<'a>>,
    calls: Vec<(Key<'a>, &'a NewRecord)>,
    added: Vec<(Key<'a>, i64, &'a NewEntry)>,
    removed: Vec<(i64, i64)>,
}

/// The invocation that a row belongs to.
#[derive(Clone, Copy)]
enum Key<'a> {
    Stored(i64),
    New(&'a str),
}

impl<'a> Rows<'a> {
    fn of(slots: &'a Slots<'a>) -> Self {
        let mut rows = Self::default();
        for (trace_id, slot, head) in transaction::existing(slots) {
            rows.add(InvocationRow { trace_id, slot, head });
        }
        rows
    }

    fn add(&mut self, row: InvocationRow<'a>) {
        let slot = row.slot;
        let key = slot.id.map_or(Key::New(row.trace_id), Key::Stored);
        match key {
            Key::New(_) => self.new.push(row),
            Key::Stored(id) => {
                let inbox_changed = !slot.added.is_empty() || !slot.removed.is_empty();
                if slot.row_changed || slot.lease_changed || inbox_changed {
                    self.changed.push(row);
                }
                self.removed.extend(slot.removed.iter().map(|seq| (id, *seq)));
            }
        }
        self.calls.extend(slot.created.map(|new| (key, new)));
        self.added.extend(slot.added.iter().map(|(seq, entry)| (key, *seq, *entry)));
    }

    async fn write(&self, connection: &mut MySqlConnection, packet: usize) -> Result<(), sqlx::Error> {
        put(connection, &self.new, "", packet).await?;
        put(connection, &self.changed, OR_UPDATE, packet).await?;
        let given = numbers(connection, &self.new).await?;
        let number = |key| match key {
            Key::Stored(id) => Ok(id),
            Key::New(trace_id) => given.get(trace_id).copied().ok_or(sqlx::Error::RowNotFound),
        };
        for portion in portions(&self.calls, packet, |(_, new)| new.head.sizes.call + 64) {
            let mut query = QueryBuilder::<MySql>::new(INSERT_CALLS);
            let rows = portion.iter().map(|(key, new)| Ok((number(*key)?, new)));
            query.push_values(rows.collect::<Result<Vec<_>, sqlx::Error>>()?, |mut row, (id, new)| {
                row.push_bind(id).push_bind(new.inputs.as_str()).push_bind(new.context.as_str());
                row.push_bind(new.caller.as_deref()).push_bind(new.finish_callback.as_deref());
                row.push_bind(new.trace.as_deref());
            });
            query.build().execute(&mut *connection).await?;
        }
        for portion in portions(&self.added, packet, |(.., entry)| entry.data.len() + 128) {
            let mut query = QueryBuilder::<MySql>::new(INSERT_ENTRIES);
            let rows = portion.iter().map(|(key, seq, entry)| Ok((number(*key)?, seq, entry)));
            query.push_values(rows.collect::<Result<Vec<_>, sqlx::Error>>()?, |mut row, (id, seq, entry)| {
                row.push_bind(id).push_bind(*seq).push_bind(entry.receipt.as_str());
                row.push_bind(entry.callback_id.as_str()).push_bind(entry.data.as_str());
            });
            query.build().execute(&mut *connection).await?;
        }
        for portion in portions(&self.removed, packet, |_| 32) {
            let mut query = QueryBuilder::<MySql>::new(DELETE_ENTRIES);
            let mut any = query.separated(" OR ");
            for (invocation, seq) in portion {
                any.push("(e.invocation = ").push_bind_unseparated(*invocation);
                any.push_unseparated(" AND e.seq = ").push_bind_unseparated(*seq).push_unseparated(")");
            }
            query.build().execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Writes rows of `bk_plugin_invocations`.
async fn put(
    connection: &mut MySqlConnection,
    rows: &[InvocationRow<'_>],
    then: &str,
    packet: usize,
) -> Result<(), sqlx::Error> {
    for portion in portions(rows, packet, InvocationRow::size) {
        let mut query = QueryBuilder::<MySql>::new(INSERT_INVOCATIONS);
        query.push_values(portion, |into, row| row.push(into));
        query.push(" ").push(then);
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

impl InvocationRow<'_> {
    fn size(&self) -> usize {
        let texts = &self.slot.texts;
        let lengths = [texts.plugin_version, texts.err, texts.storage, texts.outputs];
        512 + 40 * self.head.consumed.len() + lengths.into_iter().flatten().map(str::len).sum::<usize>()
    }

    fn push(&self, mut into: Separated<'_, MySql, &'static str>) {
        let Self { trace_id, slot, head } = self;
        let millis = Timestamp::as_millis;
        let lease = head.lease.as_ref();
        let bytes = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        // Receipts are hexadecimal digits.
        let consumed: Vec<_> = head.consumed.iter().map(|receipt| format!("\"{receipt}\"")).collect();
        into.push_bind(slot.id).push_bind(*trace_id);
        into.push_bind(u8::from(head.state)).push_bind(head.invoke_count);
        into.push_bind(head.deadline.map(|deadline| millis(deadline.at)));
        into.push_bind(head.deadline.map(|deadline| deadline.run)).push_bind(head.owed);
        into.push_bind(lease.map(|lease| lease.token.as_str()));
        into.push_bind(lease.map(|lease| millis(lease.until)));
        into.push_bind(bytes(head.inbox.len())).push_bind(format!("[{}]", consumed.join(",")));
        into.push_bind(head.finish_at.map(millis)).push_bind(head.expires_at.map(millis));
        into.push_bind(bytes(head.sizes.call)).push_bind(bytes(head.sizes.storage));
        into.push_bind(bytes(head.sizes.outputs)).push_bind(slot.texts.plugin_version);
        into.push_bind(slot.texts.created_at.map(millis)).push_bind(slot.texts.err);
        into.push_bind(slot.texts.storage).push_bind(slot.texts.outputs);
    }
}

/// The numbers of new rows, by trace_id.
async fn numbers(
    connection: &mut MySqlConnection,
    new: &[InvocationRow<'_>],
) -> Result<HashMap<String, i64>, sqlx::Error> {
    if new.is_empty() {
        return Ok(HashMap::new());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT trace_id, id FROM bk_plugin_invocations FORCE INDEX (by_trace_id) WHERE trace_id IN (",
    );
    push_list(&mut query, new.iter().map(|row| row.trace_id));
    query.push(")");
    let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// Records by trace_id.
async fn records(
    connection: &mut MySqlConnection,
    trace_ids: &[&str],
) -> Result<HashMap<String, StoredRecord>, sqlx::Error> {
    let rows = record_rows(&mut *connection, trace_ids).await?;
    let with_inbox: Vec<_> = rows.iter().filter(|row| row.inbox_len > 0).map(|row| row.id).collect();
    let entries = if with_inbox.is_empty() {
        Vec::new()
    } else {
        let mut query = QueryBuilder::<MySql>::new(INBOXES);
        push_list(&mut query, with_inbox);
        query.push(") ORDER BY invocation, seq");
        query.build_query_as().fetch_all(connection).await?
    };
    Ok(join(rows, entries))
}

async fn record_rows(
    connection: &mut MySqlConnection,
    trace_ids: &[&str],
) -> Result<Vec<NumberedRecord>, sqlx::Error> {
    let mut query = QueryBuilder::<MySql>::new(RECORDS);
    push_list(&mut query, trace_ids.iter().copied());
    query.push(")");
    query.build_query_as().fetch_all(connection).await
}

fn join(rows: Vec<NumberedRecord>, entries: Vec<NumberedEntry>) -> HashMap<String, StoredRecord> {
    let mut inboxes = HashMap::<i64, Vec<EntryRow>>::new();
    for entry in entries {
        inboxes.entry(entry.invocation).or_default().push(entry.row);
    }
    let record = |NumberedRecord { id, row, .. }: NumberedRecord| {
        let inbox = StoredInbox::Rows(inboxes.remove(&id).unwrap_or_default());
        (row.trace_id.clone(), StoredRecord { row, inbox })
    };
    rows.into_iter().map(record).collect()
}
