//! The statements of the queue: messages by the time at which they can be received.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::Selection;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::counters::{Counters, next_number};
use super::parameter::parameter;
use crate::database::Wanted;
use crate::message::{Handle, MessageRow};
use crate::request::{MoveToDeadLetters, SendMessage};
use crate::store::QueueDepth;

const RELEASE_ALL: &str = "UPDATE messages SET visible_at = ?1 WHERE receive_count > 0 AND visible_at > ?1";

const SEND: &str = "\
    INSERT INTO messages (id, kind, message_group, visible_at, receive_count, body) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 0, value ->> 4 FROM json_each(?1)";

/// CROSS JOIN makes SQLite keep this order: one look-up for each handle.
const DELETE: &str = "\
    DELETE FROM messages WHERE id IN (\
        SELECT messages.id FROM json_each(?1) AS gone CROSS JOIN messages \
        ON messages.id = gone.value ->> 0 AND messages.receive_count = gone.value ->> 1)";

const INSERT_DEAD_LETTER: &str = "\
    INSERT INTO dead_letters (message_id, receive_count, body, reason, buried_at) \
    SELECT id, receive_count, body, ?3, ?4 FROM messages WHERE id = ?1 AND receive_count = ?2";

const DUE_WAKE_UPS: &str = "\
    SELECT id, receive_count + 1 AS receive_count, body FROM messages \
    WHERE kind = 0 AND visible_at <= ?1 ORDER BY visible_at, id LIMIT ?2";

/// The earliest of each group: one look-up for each, however many are due.
const DUE_WAKE_UPS_OF: &str = "\
    SELECT messages.id, receive_count + 1 AS receive_count, body FROM json_each(?3) AS groups \
    CROSS JOIN messages ON messages.id = ( \
        SELECT id FROM messages WHERE kind = 0 AND message_group = groups.value AND visible_at <= ?1 \
        ORDER BY visible_at LIMIT 1) \
    LIMIT ?2";

const DUE_FINISHES_EXCEPT: &str = "\
    SELECT id, receive_count + 1 AS receive_count, body FROM messages \
    WHERE kind = 1 AND visible_at <= ?1 \
        AND (message_group IS NULL OR message_group NOT IN (SELECT value FROM json_each(?3))) \
    ORDER BY visible_at, id LIMIT ?2";

const HIDE: &str = "\
    UPDATE messages SET visible_at = ?1, receive_count = receive_count + 1 \
    WHERE id IN (SELECT value FROM json_each(?2))";

const LATEST_TIME: &str = "SELECT latest FROM clock";

const NOTE_TIME: &str = "UPDATE clock SET latest = max(latest, ?) WHERE id = 1";

const NEXT_WAKE_UP: &str = "SELECT min(visible_at) FROM messages WHERE kind = 0 AND visible_at > ?1";

const NEXT_WAKE_UP_OF: &str = "\
    SELECT min((SELECT min(visible_at) FROM messages \
                WHERE kind = 0 AND message_group = groups.value AND visible_at > ?1)) \
    FROM json_each(?2) AS groups";

/// Whatever its group: none that is taken is due now, so those that are due are left out.
const NEXT_FINISH: &str = "SELECT min(visible_at) FROM messages WHERE kind = 1 AND visible_at > ?1";

/// A message that is not visible yet was either received, and is hidden, or never received, and is delayed.
const DEPTH: &str = "\
    SELECT count(*) FILTER (WHERE visible_at <= ?1) AS due, \
           count(*) FILTER (WHERE visible_at > ?1 AND receive_count = 0) AS delayed, \
           count(*) FILTER (WHERE visible_at > ?1 AND receive_count > 0) AS in_flight, \
           (SELECT count(*) FROM dead_letters) AS dead_letters \
    FROM messages";

/// The statements of the hot path.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 11] = [
    SEND,
    DELETE,
    INSERT_DEAD_LETTER,
    DUE_WAKE_UPS,
    DUE_WAKE_UPS_OF,
    DUE_FINISHES_EXCEPT,
    HIDE,
    NEXT_WAKE_UP,
    NEXT_WAKE_UP_OF,
    NEXT_FINISH,
    NOTE_TIME,
];

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
        .map(|send| {
            let number = next_number(&mut counters.message);
            (number, send.kind_number(), send.group_text(), send.due_at.as_millis(), send.body.as_str())
        })
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

/// Messages that were received.
pub(super) struct Received {
    pub(super) rows: Vec<MessageRow>,
    /// Whether more of the selection may be due.
    pub(super) may_be_more: bool,
}

/// The latest time that was noted.
pub(super) async fn latest_time(connection: &mut SqliteConnection) -> Result<Timestamp, sqlx::Error> {
    sqlx::query_scalar(LATEST_TIME).fetch_one(connection).await.map(Timestamp::from_millis)
}

/// Notes that it is `now`.
pub(super) async fn note_time(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(NOTE_TIME).bind(now.as_millis()).execute(connection).await.map(drop)
}

/// Receives due messages, and hides them until `hidden_until`.
pub(super) async fn receive(
    connection: &mut SqliteConnection,
    wanted: &Wanted,
    now: Timestamp,
    hidden_until: Timestamp,
) -> Result<Received, sqlx::Error> {
    let &Wanted { ref selection, count } = wanted;
    let rows = match selection {
        Selection::All => {
            let mut rows = due(connection, DUE_WAKE_UPS, None, count, now).await?;
            let room = count - rows.len();
            rows.extend(due(connection, DUE_FINISHES_EXCEPT, Some(&[]), room, now).await?);
            rows
        }
        Selection::WakeUps => due(connection, DUE_WAKE_UPS, None, count, now).await?,
        Selection::WakeUpsOf(groups) => due(connection, DUE_WAKE_UPS_OF, Some(groups), count, now).await?,
        Selection::FinishesExcept(groups) => {
            due(connection, DUE_FINISHES_EXCEPT, Some(groups), count, now).await?
        }
    };
    if !rows.is_empty() {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        sqlx::query(HIDE).bind(hidden_until.as_millis()).bind(parameter(&ids)?).execute(connection).await?;
    }
    let may_be_more = match selection {
        Selection::WakeUpsOf(_) => !rows.is_empty(),
        _ => rows.len() == count,
    };
    Ok(Received { rows, may_be_more })
}

async fn due(
    connection: &mut SqliteConnection,
    statement: &'static str,
    groups: Option<&[MessageGroup]>,
    at_most: usize,
    now: Timestamp,
) -> Result<Vec<MessageRow>, sqlx::Error> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let mut query = sqlx::query_as(statement).bind(now.as_millis()).bind(at_most);
    if let Some(groups) = groups {
        query = query.bind(parameter(groups)?);
    }
    query.fetch_all(connection).await
}

/// The time after `now` at which the next message of the selection can be received.
pub(super) async fn next_due(
    connection: &mut SqliteConnection,
    selection: &Selection,
    now: Timestamp,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let now = now.as_millis();
    let wake_up = || sqlx::query_scalar::<_, Option<i64>>(NEXT_WAKE_UP).bind(now);
    let finish = || sqlx::query_scalar::<_, Option<i64>>(NEXT_FINISH).bind(now);
    let at = match selection {
        Selection::All => {
            let wake_up = wake_up().fetch_one(&mut *connection).await?;
            wake_up.into_iter().chain(finish().fetch_one(connection).await?).min()
        }
        Selection::WakeUps => wake_up().fetch_one(connection).await?,
        Selection::WakeUpsOf(groups) => {
            sqlx::query_scalar(NEXT_WAKE_UP_OF)
                .bind(now)
                .bind(parameter(groups)?)
                .fetch_one(connection)
                .await?
        }
        Selection::FinishesExcept(_) => finish().fetch_one(connection).await?,
    };
    Ok(at.map(Timestamp::from_millis))
}
