//! The invocation table.
//!
//! The changes of a transaction are made in three moves: the heads of all records concerned are read, the
//! rules are applied to them one change after the other, and what became of them is written. Each move is a
//! few statements, however many changes there are; their rows travel as one JSON array.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::ids::{LeaseToken, TraceId};
use bk_plugin_kit::record::{Lease, Record, State};
use bk_plugin_kit::table::{Append, Claim, ClaimOn, Commit, StoreError, Table, Write};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::writer::{Answer, Counters, Job, take};
use super::{SqliteStore, store_error};
use crate::rows::{HeadRow, NewEntry, NewRecord, NewStep, RecordRow, unreadable_record};
use crate::rules::{Entry, Head, Verdict};

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

/// The statements that are run over and over.
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

/// Asks for a change of one record.
pub(super) struct Change {
    trace_id: TraceId,
    kind: ChangeKind,
    pub(super) answer: Answer<ChangeAnswer>,
}

enum ChangeKind {
    Create { new: Box<NewRecord>, inbox_len: Option<usize> },
    Claim { on: ClaimOn, lease: Lease, now: Timestamp },
    Commit { token: LeaseToken, new: Box<NewStep> },
    Append(NewEntry),
    Settle,
}

/// What became of a change; the record, if it was refused or claimed.
pub(super) struct ChangeAnswer {
    applied: bool,
    record: Option<RecordRow>,
}

#[async_trait]
impl Table for SqliteStore {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        let new = Box::new(NewRecord::of(record)?);
        self.write(&record.trace_id, ChangeKind::Create { new, inbox_len }).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let kind = ChangeKind::Claim { on: on.clone(), lease: lease.clone(), now };
        let (applied, record) = self.change(trace_id, kind).await?;
        match record {
            // By the end of the transaction another claim may have found this lease expired.
            Some(record) if applied => {
                Ok(Claim::Granted(Box::new(Record { lease: Some(lease.clone()), ..*record })))
            }
            record => Ok(Claim::Refused(record)),
        }
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        let new = Box::new(NewStep::of(commit)?);
        self.write(trace_id, ChangeKind::Commit { token: token.clone(), new }).await
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        self.write(trace_id, ChangeKind::Append(NewEntry::of(append)?)).await
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        self.write(trace_id, ChangeKind::Settle).await.map(drop)
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let wanted = parameter(&[trace_id.as_str()]).map_err(store_error)?;
        let row: Option<RecordRow> =
            sqlx::query_as(RECORDS).bind(wanted).fetch_optional(&self.readers).await.map_err(store_error)?;
        row.map(RecordRow::decode).transpose()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if self.jobs.is_closed() {
            return Err(super::closed());
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM invocations)";
        sqlx::query(sql).execute(&self.readers).await.map(drop).map_err(store_error)
    }
}

impl SqliteStore {
    async fn write(&self, trace_id: &TraceId, kind: ChangeKind) -> Result<Write, StoreError> {
        let (applied, record) = self.change(trace_id, kind).await?;
        Ok(if applied { Write::Applied } else { Write::Refused(record) })
    }

    async fn change(
        &self,
        trace_id: &TraceId,
        kind: ChangeKind,
    ) -> Result<(bool, Option<Box<Record>>), StoreError> {
        let trace_id = trace_id.clone();
        let answer = self.ask(|answer| Job::Change(Change { trace_id, kind, answer })).await?;
        Ok((answer.applied, answer.record.map(RecordRow::decode).transpose()?))
    }
}

/// Deletes up to `at_most` records whose time is over; what belongs to them goes with them.
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

/// Makes changes. The answers are in the order of the changes.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    changes: &[Change],
    counters: &mut Counters,
    limit: usize,
) -> Result<Vec<Result<ChangeAnswer, StoreError>>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut slots = load(connection, changes).await?;
    let verdicts = apply(&mut slots, changes, counters, limit);
    Rows::of(&slots)?.write(connection).await?;
    let records = records(connection, changes, &verdicts).await?;
    Ok(changes
        .iter()
        .zip(verdicts)
        .map(|(change, verdict)| answer(change, verdict?, &records, limit))
        .collect())
}

type Slots<'a> = HashMap<&'a str, Result<Slot<'a>, String>>;

/// A record during a transaction.
#[derive(Default)]
struct Slot<'a> {
    /// Its row, if it had one when the transaction began.
    stored: bool,
    id: i64,
    head: Option<Head>,
    row_changed: bool,
    lease_changed: bool,
    created: Option<&'a NewRecord>,
    texts: Texts<'a>,
    came: Vec<(i64, &'a NewEntry)>,
    went: Vec<i64>,
}

/// What is written of a row besides the head. `None` leaves it as it was.
#[derive(Default)]
struct Texts<'a> {
    plugin_version: Option<&'a str>,
    created_at: Option<Timestamp>,
    err: Option<&'a str>,
    storage: Option<&'a str>,
    outputs: Option<&'a str>,
}

async fn load<'a>(
    connection: &mut SqliteConnection,
    changes: &'a [Change],
) -> Result<Slots<'a>, sqlx::Error> {
    let mut slots: Slots<'a> =
        changes.iter().map(|change| (change.trace_id.as_str(), Ok(Slot::default()))).collect();
    let wanted: Vec<_> = slots.keys().collect();
    let rows: Vec<HeadRow> = sqlx::query_as(HEADS).bind(parameter(&wanted)?).fetch_all(connection).await?;
    for row in rows {
        let Some(slot) = slots.get_mut(row.trace_id.as_str()) else { continue };
        *slot = match row.decode() {
            Ok(head) => Ok(Slot { stored: true, id: row.id, head: Some(head), ..Slot::default() }),
            Err(error) => Err(error.to_string()),
        };
    }
    Ok(slots)
}

/// Applies the rules, in an order that every answer fits. They were all asked for at the same time, so any
/// order will do; but a change that is refused is answered with the record as the transaction leaves it, and
/// that must show why. So what was refused is tried again after the others have been made, and claims, which
/// every change may help or hinder, come last.
fn apply<'a>(
    slots: &mut Slots<'a>,
    changes: &'a [Change],
    counters: &mut Counters,
    limit: usize,
) -> Vec<Result<Verdict, StoreError>> {
    let mut verdicts: Vec<_> = changes.iter().map(|_| Ok(Verdict::Refused)).collect();
    let mut attempt = |claims: bool| {
        let mut is_made = false;
        for (change, verdict) in changes.iter().zip(&mut verdicts) {
            let is_claim = matches!(change.kind, ChangeKind::Claim { .. });
            if is_claim != claims || !matches!(verdict, Ok(Verdict::Refused)) {
                continue;
            }
            let trace_id = change.trace_id.as_str();
            *verdict = match slots.get_mut(trace_id) {
                Some(Ok(slot)) => Ok(slot.apply(&change.kind, counters, limit)),
                Some(Err(error)) => Err(unreadable_record(trace_id, error.clone().into())),
                None => Ok(Verdict::Refused),
            };
            is_made |= matches!(verdict, Ok(Verdict::Applied));
        }
        is_made
    };
    while attempt(false) {}
    attempt(true);
    verdicts
}

impl<'a> Slot<'a> {
    fn apply(&mut self, kind: &'a ChangeKind, counters: &mut Counters, limit: usize) -> Verdict {
        match kind {
            ChangeKind::Create { new, inbox_len } => self.create(new, *inbox_len, counters, limit),
            ChangeKind::Claim { on, lease, now } => self.claim(on, lease, *now),
            ChangeKind::Commit { token, new } => self.commit(token, new, limit),
            ChangeKind::Append(entry) => self.append(entry, counters, limit),
            ChangeKind::Settle => self.settle(),
        }
    }

    fn create(
        &mut self,
        new: &'a NewRecord,
        inbox_len: Option<usize>,
        counters: &mut Counters,
        limit: usize,
    ) -> Verdict {
        // No record is like a stub with an empty inbox here.
        let mut head = self.head.clone().unwrap_or_else(|| Head::stub(new.created_at));
        let verdict = head.create(&new.head, inbox_len, limit);
        if verdict == Verdict::Applied {
            self.put(head, counters);
            self.lease_changed = true;
            self.created = Some(new);
            self.texts = Texts {
                plugin_version: Some(&new.plugin_version),
                created_at: Some(new.created_at),
                err: Some(&new.err),
                storage: Some(&new.storage),
                outputs: Some(&new.outputs),
            };
        }
        verdict
    }

    fn claim(&mut self, on: &ClaimOn, lease: &Lease, now: Timestamp) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Refused };
        let verdict = head.claim(on, lease, now);
        self.lease_changed |= verdict == Verdict::Applied;
        verdict
    }

    fn commit(&mut self, token: &LeaseToken, new: &'a NewStep, limit: usize) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Refused };
        let (verdict, consumed) = head.commit(token, &new.step, limit);
        if verdict == Verdict::Applied {
            self.row_changed = true;
            self.lease_changed = true;
            self.went.extend(consumed.map(|entry| entry.seq));
            self.texts.err = Some(&new.err);
            self.texts.storage = new.storage.as_deref().or(self.texts.storage);
            self.texts.outputs = new.outputs.as_deref().or(self.texts.outputs);
        }
        verdict
    }

    fn append(&mut self, new: &'a NewEntry, counters: &mut Counters, limit: usize) -> Verdict {
        let mut head = match (&self.head, new.stub) {
            (Some(head), _) => head.clone(),
            (None, Some((_, expires_at))) => Head::stub(expires_at),
            (None, None) => return Verdict::Refused,
        };
        let seq = take(&mut counters.entry);
        let entry = Entry { seq, receipt: new.receipt.clone(), size: new.data.len() };
        let verdict = head.append(entry, limit);
        if verdict == Verdict::Applied {
            let Some((created_at, expires_at)) = new.stub.filter(|_| head.state == State::Empty) else {
                self.head = Some(head);
                self.came.push((seq, new));
                return verdict;
            };
            // A stub lives as long as the youngest callback in it may.
            head.expires_at = head.expires_at.max(Some(expires_at));
            if self.head.is_none() {
                self.texts = Texts::stub(created_at);
            }
            self.put(head, counters);
            self.came.push((seq, new));
        }
        verdict
    }

    fn settle(&mut self) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Nothing };
        let verdict = head.settle();
        self.row_changed |= verdict == Verdict::Applied;
        verdict
    }

    /// Writes the head to a row, which is a new one if there was none.
    fn put(&mut self, head: Head, counters: &mut Counters) {
        if self.head.is_none() {
            self.id = take(&mut counters.invocation);
        }
        self.head = Some(head);
        self.row_changed = true;
    }
}

impl Texts<'_> {
    fn stub(created_at: Timestamp) -> Self {
        Self {
            plugin_version: Some(""),
            created_at: Some(created_at),
            err: Some("\"\""),
            storage: Some("null"),
            outputs: Some("{}"),
        }
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

/// What is to be written, by statement.
#[derive(Default)]
struct Rows<'a> {
    new: Vec<InvocationRow<'a>>,
    changed: Vec<InvocationRow<'a>>,
    calls: Vec<CallRow<'a>>,
    leased: Vec<(i64, &'a str, i64)>,
    freed: Vec<i64>,
    came: Vec<(i64, i64, &'a str, &'a str, &'a str)>,
    went: Vec<i64>,
}

impl<'a> Rows<'a> {
    fn of(slots: &'a Slots<'a>) -> Result<Self, sqlx::Error> {
        let mut rows = Self::default();
        for (trace_id, slot) in slots {
            if let Ok(slot @ Slot { head: Some(head), .. }) = slot {
                rows.add(trace_id, slot, head)?;
            }
        }
        Ok(rows)
    }

    fn add(&mut self, trace_id: &'a str, slot: &'a Slot<'a>, head: &'a Head) -> Result<(), sqlx::Error> {
        if slot.row_changed {
            let rows = if slot.stored { &mut self.changed } else { &mut self.new };
            rows.push(InvocationRow::of(trace_id, slot, head)?);
        }
        if let Some(new) = slot.created {
            let (caller, finish_callback) = (new.caller.as_deref(), new.finish_callback.as_deref());
            let trace = new.trace.as_deref();
            self.calls.push((slot.id, &new.inputs, &new.context, caller, finish_callback, trace));
        }
        match &head.lease {
            _ if !slot.lease_changed => (),
            Some(lease) => self.leased.push((slot.id, lease.token.as_str(), lease.until.as_millis())),
            None => self.freed.push(slot.id),
        }
        let came = slot.came.iter().map(|(seq, entry)| {
            (*seq, slot.id, entry.receipt.as_str(), entry.callback_id.as_str(), entry.data.as_str())
        });
        self.came.extend(came);
        self.went.extend(&slot.went);
        Ok(())
    }

    /// Rows others refer to go first; an entry may come and go in one transaction.
    async fn write(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        execute(connection, INSERT_INVOCATIONS, &self.new).await?;
        execute(connection, UPDATE_INVOCATIONS, &self.changed).await?;
        execute(connection, INSERT_CALLS, &self.calls).await?;
        execute(connection, PUT_LEASES, &self.leased).await?;
        execute(connection, DELETE_LEASES, &self.freed).await?;
        execute(connection, INSERT_ENTRIES, &self.came).await?;
        execute(connection, DELETE_ENTRIES, &self.went).await
    }
}

impl<'a> InvocationRow<'a> {
    fn of(trace_id: &'a str, slot: &Slot<'a>, head: &Head) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: slot.id,
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

/// Rows as the one parameter of a statement, for `json_each`.
pub(super) fn parameter<T: Serialize>(rows: &[T]) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The records that are part of an answer, by trace_id.
async fn records(
    connection: &mut SqliteConnection,
    changes: &[Change],
    verdicts: &[Result<Verdict, StoreError>],
) -> Result<HashMap<String, RecordRow>, sqlx::Error> {
    let wanted: HashSet<_> = changes
        .iter()
        .zip(verdicts)
        .filter(|(change, verdict)| {
            verdict.as_ref().is_ok_and(|verdict| change.is_answered_with_record(*verdict))
        })
        .map(|(change, _)| change.trace_id.as_str())
        .collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted: Vec<_> = wanted.into_iter().collect();
    let rows: Vec<RecordRow> =
        sqlx::query_as(RECORDS).bind(parameter(&wanted)?).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.trace_id.clone(), row)).collect())
}

impl Change {
    fn is_answered_with_record(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Refused => true,
            Verdict::Applied => matches!(self.kind, ChangeKind::Claim { .. }),
            Verdict::Nothing | Verdict::TooLarge(_) | Verdict::InboxFull => false,
        }
    }
}

fn answer(
    change: &Change,
    verdict: Verdict,
    records: &HashMap<String, RecordRow>,
    limit: usize,
) -> Result<ChangeAnswer, StoreError> {
    let applied = match verdict {
        Verdict::TooLarge(size) => return Err(StoreError::TooLarge { size, limit }),
        Verdict::InboxFull => return Err(StoreError::InboxFull { limit: Record::LARGEST_INBOX }),
        Verdict::Applied | Verdict::Nothing => true,
        Verdict::Refused => false,
    };
    let record =
        change.is_answered_with_record(verdict).then(|| records.get(change.trace_id.as_str()).cloned());
    Ok(ChangeAnswer { applied, record: record.flatten() })
}
