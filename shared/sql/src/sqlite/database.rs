//! The file as its only writer sees it: the connection, and the statements of one transaction.

use std::fs::File;
use std::sync::Arc;

use bk_plugin_core::clock::{Clock, Timestamp};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::counters::Counters;
use super::options::SqliteOptions;
use super::queue;
use super::table::{self, SqliteRecords};
use crate::database::{Batch, Database, Done, Failure};
use crate::store_clock::NotedTime;
use crate::transaction;

/// The time of the next message is unknown, so the next receive has to look.
const LOOK: Option<Timestamp> = Some(Timestamp::from_millis(i64::MIN));

/// The connection that writes, with what the writer knows of the file.
pub(super) struct SqliteFile {
    connection: SqliteConnection,
    counters: Counters,
    options: SqliteOptions,
    /// The earliest time at which a message can be received; `None`: there is no message.
    next_due: Option<Timestamp>,
    clock: Arc<dyn Clock>,
    noted_time: NotedTime,
    lock: File,
}

impl SqliteFile {
    pub(super) fn new(
        connection: SqliteConnection,
        counters: Counters,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
        lock: File,
    ) -> Self {
        let noted_time = NotedTime::default();
        Self { connection, counters, options, next_due: LOOK, clock, noted_time, lock }
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.connection).await.map(drop)
    }

    async fn transaction(
        &mut self,
        batch: &Batch,
        wanted: usize,
        now: Timestamp,
    ) -> Result<(Done, Option<Timestamp>), Failure> {
        self.statement("BEGIN IMMEDIATE").await.map_err(Failure::Transaction)?;
        let done = self.work(batch, wanted, now).await.map_err(Failure::Statement)?;
        let notes_time = self.noted_time.is_due(batch, now);
        if notes_time {
            queue::note_time(&mut self.connection, now).await.map_err(Failure::Transaction)?;
        }
        self.statement("COMMIT").await.map_err(Failure::Transaction)?;
        if notes_time {
            self.noted_time.note(now);
        }
        Ok(done)
    }

    /// Everything between BEGIN and COMMIT. Also returns when the next message is due.
    async fn work(
        &mut self,
        batch: &Batch,
        wanted: usize,
        now: Timestamp,
    ) -> Result<(Done, Option<Timestamp>), sqlx::Error> {
        let connection = &mut self.connection;
        let mut next_due = batch.sends.iter().map(|send| send.due_at).chain(self.next_due).min();
        let mut done = Done::default();
        for expiry in &batch.expiries {
            done.expired.push(table::expire(connection, expiry.now, expiry.at_most).await?);
        }
        let mut records = SqliteRecords { connection, counters: &mut self.counters };
        let limit = self.options.largest_record;
        done.changes = transaction::change(&mut records, &batch.changes, limit).await?;
        queue::send(connection, &batch.sends, &mut self.counters).await?;
        let handles: Vec<_> = batch.deletes.iter().map(|delete| delete.handle).collect();
        queue::delete(connection, &handles).await?;
        queue::move_to_dead_letters(connection, &batch.dead_letters, now).await?;
        if wanted > 0 {
            let hidden_until = now + self.options.visibility_timeout;
            done.received = queue::receive(connection, wanted, now, hidden_until).await?;
            // A full result: there may be more.
            let exhausted = done.received.len() < wanted;
            next_due = if exhausted { queue::next_due(connection).await? } else { Some(now) };
        }
        Ok((done, next_due))
    }
}

impl Database for SqliteFile {
    fn next_look(&self) -> Option<Timestamp> {
        self.next_due
    }

    async fn transact(&mut self, batch: &Batch, wanted: usize, now: Timestamp) -> Result<Done, Failure> {
        match self.transaction(batch, wanted, now).await {
            Ok((done, next_due)) => {
                self.next_due = next_due;
                Ok(done)
            }
            Err(failure) => {
                // After some errors SQLite has rolled back already; then this statement fails, which is fine.
                self.statement("ROLLBACK").await.ok();
                // What the queue holds is unknown, so the next receive has to look.
                self.next_due = LOOK;
                Err(failure)
            }
        }
    }

    async fn close(mut self) {
        let now = self.clock.now();
        if let Err(error) = queue::note_time(&mut self.connection, now).await {
            tracing::debug!(%error, "the time was not noted");
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; it will be put in order when it is opened");
        }
        drop(self.lock);
    }
}
