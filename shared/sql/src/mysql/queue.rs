//! The statements of the queue: messages by the time at which they can be received.

use std::collections::BTreeMap;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::Selection;
use sqlx::QueryBuilder;
use sqlx::mysql::{MySql, MySqlConnection};

use super::statement::{portions, push_list};
use crate::message::{Handle, MessageRow};
use crate::request::{MoveToDeadLetters, SendMessage};
use crate::store::QueueDepth;

const INSERT_DEAD_LETTER: &str = "\
    INSERT INTO bk_plugin_dead_letters (message_id, receive_count, body, reason, buried_at) \
    SELECT id, receive_count, body, ?, ? FROM bk_plugin_messages WHERE id = ? AND receive_count = ?";

const VISIBLE: &str = "\
    SELECT id FROM bk_plugin_messages FORCE INDEX (by_visibility) \
    WHERE visible_at <= ? ORDER BY visible_at LIMIT ?";

const VISIBLE_WAKE_UPS: &str = "\
    SELECT id FROM bk_plugin_messages FORCE INDEX (by_kind) \
    WHERE kind = 0 AND visible_at <= ? ORDER BY visible_at LIMIT ?";

/// The earliest of one group. (The groups of wake-ups are not those of finish callbacks.)
const VISIBLE_OF: &str = "\
    SELECT id FROM bk_plugin_messages FORCE INDEX (by_group) \
    WHERE message_group = ? AND visible_at <= ? ORDER BY visible_at LIMIT 1";

/// A message that is not visible yet was either received, and is hidden, or never received, and is delayed.
const DEPTH: &str = "\
    SELECT count(CASE WHEN visible_at <= ? THEN 1 END) AS due, \
           count(CASE WHEN visible_at > ? AND receive_count = 0 THEN 1 END) AS `delayed`, \
           count(CASE WHEN visible_at > ? AND receive_count > 0 THEN 1 END) AS in_flight, \
           (SELECT count(*) FROM bk_plugin_dead_letters) AS dead_letters \
    FROM bk_plugin_messages";

const NOTE_TIME: &str = "UPDATE bk_plugin_clock SET latest = greatest(latest, ?) WHERE id = 1";

/// A message to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewMessage<'a> {
    pub(super) id: i64,
    pub(super) visible_at: Timestamp,
    pub(super) send: &'a SendMessage,
}

pub(super) async fn depth(reader: &mut MySqlConnection, now: Timestamp) -> Result<QueueDepth, sqlx::Error> {
    let now = now.as_millis();
    sqlx::query_as(DEPTH).bind(now).bind(now).bind(now).fetch_one(reader).await
}

pub(super) async fn send(
    connection: &mut MySqlConnection,
    messages: &[NewMessage<'_>],
    packet: usize,
) -> Result<(), sqlx::Error> {
    for portion in portions(messages, packet, |message| message.send.body.len() + 256) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO bk_plugin_messages (id, kind, message_group, visible_at, receive_count, body) ",
        );
        query.push_values(portion, |mut row, message| {
            row.push_bind(message.id)
                .push_bind(message.send.kind_number())
                .push_bind(message.send.group_text());
            row.push_bind(message.visible_at.as_millis()).push("0").push_bind(&message.send.body);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Deletes by one statement for each receive count. Nearly all messages have been received once, so there are one
/// or two.
pub(super) async fn delete(connection: &mut MySqlConnection, handles: &[Handle]) -> Result<(), sqlx::Error> {
    let mut by_count = BTreeMap::<i64, Vec<i64>>::new();
    for handle in handles {
        by_count.entry(handle.receive_count).or_default().push(handle.id);
    }
    for (receive_count, ids) in by_count {
        let mut query = QueryBuilder::<MySql>::new(
            "DELETE m FROM bk_plugin_messages AS m FORCE INDEX (PRIMARY) WHERE m.receive_count = ",
        );
        query.push_bind(receive_count).push(" AND m.id IN (");
        push_list(&mut query, ids);
        query.push(")");
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn move_to_dead_letters(
    connection: &mut MySqlConnection,
    dead_letters: &[MoveToDeadLetters],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for MoveToDeadLetters { handle, reason, .. } in dead_letters {
        sqlx::query(INSERT_DEAD_LETTER)
            .bind(reason.as_str())
            .bind(now.as_millis())
            .bind(handle.id)
            .bind(handle.receive_count)
            .execute(&mut *connection)
            .await?;
    }
    let handles: Vec<_> = dead_letters.iter().map(|dead_letter| dead_letter.handle).collect();
    delete(connection, &handles).await
}

/// Notes that it is `now`. To be the last statement of a transaction: all processes write this row.
pub(super) async fn note_time(connection: &mut MySqlConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(NOTE_TIME).bind(now.as_millis()).execute(connection).await.map(drop)
}

/// Up to `most` messages of the selection that any process may receive at `now`. They are not locked: other processes
/// see them, too.
pub(super) async fn visible(
    connection: &mut MySqlConnection,
    selection: &Selection,
    most: usize,
    now: Timestamp,
) -> Result<Vec<i64>, sqlx::Error> {
    let now = now.as_millis();
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    match selection {
        Selection::All => sqlx::query_scalar(VISIBLE).bind(now).bind(limit).fetch_all(connection).await,
        Selection::WakeUps => {
            sqlx::query_scalar(VISIBLE_WAKE_UPS).bind(now).bind(limit).fetch_all(connection).await
        }
        Selection::WakeUpsOf(groups) => {
            let mut ids = Vec::new();
            for group in groups.iter().take(most) {
                let earliest = sqlx::query_scalar::<_, i64>(VISIBLE_OF).bind(group.as_str()).bind(now);
                ids.extend(earliest.fetch_optional(&mut *connection).await?);
            }
            Ok(ids)
        }
        Selection::FinishesExcept(groups) => {
            let mut query = QueryBuilder::<MySql>::new(
                "SELECT id FROM bk_plugin_messages FORCE INDEX (by_kind) WHERE kind = 1 AND visible_at <= ",
            );
            query.push_bind(now);
            if !groups.is_empty() {
                query.push(" AND (message_group IS NULL OR message_group NOT IN (");
                push_list(&mut query, groups.iter().map(MessageGroup::as_str));
                query.push("))");
            }
            query.push(" ORDER BY visible_at LIMIT ").push_bind(limit);
            query.build_query_scalar().fetch_all(connection).await
        }
    }
}

/// Receives the messages among `ids` that no other process has received, and hides them until `hidden_until`. A
/// message that was never received counts as due: it is this process's own, or [`visible`] has found it.
pub(super) async fn claim(
    connection: &mut MySqlConnection,
    ids: &[i64],
    now: Timestamp,
    hidden_until: Timestamp,
) -> Result<Vec<MessageRow>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT id, receive_count + 1 AS receive_count, body FROM bk_plugin_messages FORCE INDEX (PRIMARY) \
         WHERE (receive_count = 0 OR visible_at <= ",
    );
    query.push_bind(now.as_millis()).push(") AND id IN (");
    push_list(&mut query, ids.iter().copied());
    query.push(") ORDER BY visible_at, id FOR UPDATE");
    let rows: Vec<MessageRow> = query.build_query_as().fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(rows);
    }
    let mut query = QueryBuilder::<MySql>::new(
        "UPDATE bk_plugin_messages FORCE INDEX (PRIMARY) SET receive_count = receive_count + 1, visible_at = ",
    );
    query.push_bind(hidden_until.as_millis()).push(" WHERE id IN (");
    push_list(&mut query, rows.iter().map(|row| row.id));
    query.push(")");
    query.build().execute(connection).await?;
    Ok(rows)
}
