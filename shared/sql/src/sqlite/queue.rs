//! The statements of the queue: messages by the time at which they can be received.

use bk_plugin_core::clock::Timestamp;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::counters::{Counters, next_number};
use super::parameter::parameter;
use crate::message::{Handle, MessageRow};
use crate::request::{MoveToDeadLetters, SendMessage};
use crate::store::QueueDepth;

const RELEASE_ALL: &str = "UPDATE messages SET visible_at = ?1 WHERE receive_count > 0 AND visible_at > ?1";

const SEND: &str = "\
    INSERT INTO messages (id, visible_at, receive_count, body) \
    SELECT value ->> 0, value ->> 1, 0, value ->> 2 FROM json_each(?1)";

/// CROSS JOIN makes SQLite keep this order: one look-up for each handle.
const DELETE: &str = "\
    DELETE FROM messages WHERE id IN (\
        SELECT messages.id FROM json_each(?1) AS gone CROSS JOIN messages \
        ON messages.id = gone.value ->> 0 AND messages.receive_count = gone.value ->> 1)";

const INSERT_DEAD_LETTER: &str = "\
    INSERT INTO dead_letters (message_id, receive_count, body, reason, buried_at) \
    SELECT id, receive_count, body, ?3, ?4 FROM messages WHERE id = ?1 AND receive_count = ?2";

const DUE: &str = "\
    SELECT id, receive_count + 1 AS receive_count, body FROM messages \
    WHERE visible_at <= ?1 ORDER BY visible_at, id LIMIT ?2";

const HIDE: &str = "\
    UPDATE messages SET visible_at = ?1, receive_count = receive_count + 1 \
    WHERE id IN (SELECT value FROM json_each(?2))";

const LATEST_TIME: &str = "SELECT latest FROM clock";

const NOTE_TIME: &str = "UPDATE clock SET latest = max(latest, ?) WHERE id = 1";

const NEXT_DUE: &str = "SELECT min(visible_at) FROM messages";

/// A message that is not visible yet was either received, and is hidden, or never received, and is delayed.
const DEPTH: &str = "\
    SELECT count(*) FILTER (WHERE visible_at <= ?1) AS due, \
           count(*) FILTER (WHERE visible_at > ?1 AND receive_count = 0) AS delayed, \
           count(*) FILTER (WHERE visible_at > ?1 AND receive_count > 0) AS in_flight, \
           (SELECT count(*) FROM dead_letters) AS dead_letters \
    FROM messages";

/// The statements of the hot path.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 7] = [SEND, DELETE, INSERT_DEAD_LETTER, DUE, HIDE, NEXT_DUE, NOTE_TIME];

/// Makes all received messages visible again: the process that received them is gone.
pub(super) async fn release_all(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(RELEASE_ALL).bind(now.as_millis()).execute(connection).await.map(drop)
}

pub(super) async fn depth(readers: &SqlitePool, now: Timestamp) -> Result<QueueDepth, sqlx::Error> {
    sqlx::query_as(DEPTH).bind(now.as_millis()).fetch_one(readers).await
}

pub(super) async fn send(
    connection: &mut SqliteConnection,
    sends: &[SendMessage],
    counters: &mut Counters,
) -> Result<(), sqlx::Error> {
    if sends.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = sends
        .iter()
        .map(|send| (next_number(&mut counters.message), send.due_at.as_millis(), send.body.as_str()))
        .collect();
    sqlx::query(SEND).bind(parameter(&rows)?).execute(connection).await.map(drop)
}

pub(super) async fn delete(connection: &mut SqliteConnection, handles: &[Handle]) -> Result<(), sqlx::Error> {
    if handles.is_empty() {
        return Ok(());
    }
    let gone: Vec<_> = handles.iter().map(|handle| (handle.id, handle.receive_count)).collect();
    sqlx::query(DELETE).bind(parameter(&gone)?).execute(connection).await.map(drop)
}

pub(super) async fn move_to_dead_letters(
    connection: &mut SqliteConnection,
    dead_letters: &[MoveToDeadLetters],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for MoveToDeadLetters { handle, reason, .. } in dead_letters {
        sqlx::query(INSERT_DEAD_LETTER)
            .bind(handle.id)
            .bind(handle.receive_count)
            .bind(reason.as_str())
            .bind(now.as_millis())
            .execute(&mut *connection)
            .await?;
    }
    let handles: Vec<_> = dead_letters.iter().map(|dead_letter| dead_letter.handle).collect();
    delete(connection, &handles).await
}

/// Receives up to `wanted` due messages, the earliest first, and hides them until `hidden_until`.
pub(super) async fn receive(
    connection: &mut SqliteConnection,
    wanted: usize,
    now: Timestamp,
    hidden_until: Timestamp,
) -> Result<Vec<MessageRow>, sqlx::Error> {
    let rows: Vec<MessageRow> = sqlx::query_as(DUE)
        .bind(now.as_millis())
        .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
    if rows.is_empty() {
        return Ok(rows);
    }
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    sqlx::query(HIDE).bind(hidden_until.as_millis()).bind(parameter(&ids)?).execute(connection).await?;
    Ok(rows)
}

/// The latest time that was noted.
pub(super) async fn latest_time(connection: &mut SqliteConnection) -> Result<Timestamp, sqlx::Error> {
    sqlx::query_scalar(LATEST_TIME).fetch_one(connection).await.map(Timestamp::from_millis)
}

/// Notes that it is `now`.
pub(super) async fn note_time(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(NOTE_TIME).bind(now.as_millis()).execute(connection).await.map(drop)
}

/// The time at which the next message can be received.
pub(super) async fn next_due(connection: &mut SqliteConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    let at: Option<i64> = sqlx::query_scalar(NEXT_DUE).fetch_one(connection).await?;
    Ok(at.map(Timestamp::from_millis))
}
