//! The queue: messages by the time they can be received.

use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::queue::{Delivery, Message, Queue};
use bk_plugin_kit::table::StoreError;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::database::{Counters, take};
use super::table::parameter;
use crate::client::LONGEST_DELAY;
use crate::request::{Bury, Handle, MessageRow, Send};

const RELEASE_ALL: &str = "UPDATE messages SET visible_at = ?1 WHERE receive_count > 0 AND visible_at > ?1";

const SEND: &str = "\
    INSERT INTO messages (id, visible_at, receive_count, body) \
    SELECT value ->> 0, value ->> 1, 0, value ->> 2 FROM json_each(?1)";

/// With CROSS JOIN, SQLite keeps to that order: one look-up a handle.
const DELETE: &str = "\
    DELETE FROM messages WHERE id IN (\
        SELECT messages.id FROM json_each(?1) AS gone CROSS JOIN messages \
        ON messages.id = gone.value ->> 0 AND messages.receive_count = gone.value ->> 1)";

const BURY: &str = "\
    INSERT INTO dead_letters (message_id, receive_count, body, reason, buried_at) \
    SELECT id, receive_count, body, ?3, ?4 FROM messages WHERE id = ?1 AND receive_count = ?2";

const DUE: &str = "\
    SELECT id, receive_count + 1 AS receive_count, body FROM messages \
    WHERE visible_at <= ?1 ORDER BY visible_at, id LIMIT ?2";

const HIDE: &str = "\
    UPDATE messages SET visible_at = ?1, receive_count = receive_count + 1 \
    WHERE id IN (SELECT value FROM json_each(?2))";

const NEXT_DUE: &str = "SELECT min(visible_at) FROM messages";

/// Whatever is hidden was received before; what was never received is delayed.
pub(super) const DEPTH: &str = "\
    SELECT count(*) FILTER (WHERE visible_at <= ?1) AS due, \
           count(*) FILTER (WHERE visible_at > ?1 AND receive_count = 0) AS delayed, \
           count(*) FILTER (WHERE visible_at > ?1 AND receive_count > 0) AS in_flight, \
           (SELECT count(*) FROM dead_letters) AS dead_letters \
    FROM messages";

/// The statements that are run over and over.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 6] = [SEND, DELETE, BURY, DUE, HIDE, NEXT_DUE];

#[async_trait]
impl Queue for SqliteStore {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        self.writer.send(message, delay).await
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError> {
        self.writer.receive(max, wait).await
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        self.writer.delete(handle).await
    }

    fn longest_delay(&self) -> Duration {
        LONGEST_DELAY
    }
}

/// Makes the messages that somebody was working on visible: nobody is any more.
pub(super) async fn release_all(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(RELEASE_ALL).bind(now.as_millis()).execute(connection).await.map(drop)
}

pub(super) async fn send(
    connection: &mut SqliteConnection,
    sends: &[Send],
    counters: &mut Counters,
) -> Result<(), sqlx::Error> {
    if sends.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = sends
        .iter()
        .map(|send| (take(&mut counters.message), send.due_at.as_millis(), send.body.as_str()))
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

pub(super) async fn bury(
    connection: &mut SqliteConnection,
    burials: &[Bury],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for Bury { handle, reason, .. } in burials {
        sqlx::query(BURY)
            .bind(handle.id)
            .bind(handle.receive_count)
            .bind(reason.as_str())
            .bind(now.as_millis())
            .execute(&mut *connection)
            .await?;
    }
    let handles: Vec<_> = burials.iter().map(|bury| bury.handle).collect();
    delete(connection, &handles).await
}

/// Takes up to `wanted` due messages, the one due first in front, and hides them until `hidden_until`.
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

/// When the next message can be received.
pub(super) async fn next_due(connection: &mut SqliteConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    let at: Option<i64> = sqlx::query_scalar(NEXT_DUE).fetch_one(connection).await?;
    Ok(at.map(Timestamp::from_millis))
}
