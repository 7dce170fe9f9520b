//! The queue: messages by the time they can be received.

use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::queue::{Delivery, Message, Queue};
use bk_plugin_kit::table::StoreError;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::table::parameter;
use super::writer::{Answer, Counters, Job, take};
use crate::rows::text;

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

/// Rows of messages taken by one statement at most, whatever the receivers ask for.
const MOST_RECEIVED: usize = 1024;

/// Asks for a message to be stored.
pub(super) struct Send {
    pub(super) body: String,
    pub(super) visible_at: Timestamp,
    pub(super) answer: Answer<()>,
}

/// Asks for a received message to be removed.
pub(super) struct Delete {
    pub(super) handle: Handle,
    pub(super) answer: Answer<()>,
}

/// Asks for a message that cannot be read to be taken out of the queue.
pub(super) struct Bury {
    pub(super) handle: Handle,
    pub(super) reason: String,
    pub(super) answer: Answer<()>,
}

/// Asks for messages.
pub(super) struct Receive {
    pub(super) max: usize,
    pub(super) wait: Duration,
    pub(super) answer: Answer<Vec<MessageRow>>,
}

/// A message as it is stored, received for the `receive_count`th time.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct MessageRow {
    id: i64,
    receive_count: i64,
    body: String,
}

/// One delivery of a message: each raises the count, so the handle of an earlier one does not fit any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    id: i64,
    receive_count: i64,
}

impl Handle {
    fn parse(text: &str) -> Option<Self> {
        let (id, receive_count) = text.split_once('-')?;
        Some(Self { id: id.parse().ok()?, receive_count: receive_count.parse().ok()? })
    }

    fn to_text(self) -> String {
        format!("{}-{}", self.id, self.receive_count)
    }
}

#[async_trait]
impl Queue for SqliteStore {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let body = text(message)?;
        let visible_at = self.clock.now() + delay;
        self.ask(|answer| Job::Send(Send { body, visible_at, answer })).await
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let until = self.clock.now() + wait;
        let mut wait = wait;
        loop {
            let max = max.min(MOST_RECEIVED);
            let rows = self.ask(|answer| Job::Receive(Receive { max, wait, answer })).await?;
            let nothing_came = rows.is_empty();
            let deliveries = self.deliver(rows).await?;
            if nothing_came || !deliveries.is_empty() {
                return Ok(deliveries);
            }
            wait = until.since(self.clock.now());
        }
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        // A handle of another kind names no message here, which is the same as one that is gone.
        let Some(handle) = Handle::parse(handle) else { return Ok(()) };
        self.ask(|answer| Job::Delete(Delete { handle, answer })).await
    }

    fn longest_delay(&self) -> Duration {
        Duration::from_hours(365 * 24)
    }
}

impl SqliteStore {
    /// Reads the messages. One that cannot be read would come back for ever: it is put aside.
    async fn deliver(&self, rows: Vec<MessageRow>) -> Result<Vec<Delivery>, StoreError> {
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in rows {
            let handle = Handle { id: row.id, receive_count: row.receive_count };
            match serde_json::from_str(&row.body) {
                Ok(message) => deliveries.push(Delivery {
                    message,
                    handle: handle.to_text(),
                    receive_count: u32::try_from(row.receive_count).unwrap_or(u32::MAX),
                }),
                Err(error) => self.put_aside(handle, &error).await,
            }
        }
        Ok(deliveries)
    }

    async fn put_aside(&self, handle: Handle, error: &serde_json::Error) {
        tracing::error!(
            message_id = handle.id,
            %error,
            "a message of the queue cannot be read; it is moved to the table dead_letters"
        );
        let reason = error.to_string();
        let buried = self.ask(|answer| Job::Bury(Bury { handle, reason, answer })).await;
        if let Err(error) = buried {
            // It will be received again, and then put aside. The good messages beside it must not wait.
            tracing::error!(message_id = handle.id, %error, "the message could not be moved");
        }
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
        .map(|send| (take(&mut counters.message), send.visible_at.as_millis(), send.body.as_str()))
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
        .bind(i64::try_from(wanted.min(MOST_RECEIVED)).unwrap_or(i64::MAX))
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
