//! The file as its only writer sees it: the connection, and the statements of one transaction.

use std::fs::File;
use std::sync::Arc;

use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::queue::Selection;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::counters::Counters;
use super::options::SqliteOptions;
use super::queue;
use super::table::{self, SqliteRecords};
use crate::by_selection::BySelection;
use crate::database::{Batch, Database, Done, Failure, Wanted};
use crate::store_clock::NotedTime;
use crate::transaction;

/// The time of the next message is unknown, so the next receive has to look.
const LOOK: Option<Timestamp> = Some(Timestamp::from_millis(i64::MIN));

/// The earliest time at which a message of a selection can be received; `None`: there is no such message.
type NextDue = BySelection<Option<Timestamp>>;

/// The connection that writes, with what the writer knows of the file.
pub(super) struct SqliteFile {
    connection: SqliteConnection,
    counters: Counters,
    options: SqliteOptions,
    next_due: NextDue,
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
        Self { connection, counters, options, next_due: BySelection::new(), clock, noted_time, lock }
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.connection).await.map(drop)
    }

    async fn transaction(
        &mut self,
        batch: &Batch,
        wanted: &[Wanted],
        now: Timestamp,
    ) -> Result<Done, Failure> {
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

    /// Everything between BEGIN and COMMIT.
    async fn work(&mut self, batch: &Batch, wanted: &[Wanted], now: Timestamp) -> Result<Done, sqlx::Error> {
        let connection = &mut self.connection;
        for (selection, next_due) in self.next_due.iter_mut() {
            let sent = batch.sends.iter().filter(|send| send.is_in(selection)).map(|send| send.due_at);
            *next_due = sent.chain(*next_due).min();
        }
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
        let hidden_until = now + self.options.visibility_timeout;
        for wanted in wanted {
            let received = queue::receive(connection, wanted, now, hidden_until).await?;
            let next_due = if received.may_be_more {
                Some(now)
            } else {
                queue::next_due(connection, &wanted.selection, now).await?
            };
            self.next_due.set(&wanted.selection, next_due);
            done.received.push(received.rows);
        }
        Ok(done)
    }
}

impl Database for SqliteFile {
    fn next_look(&self, selection: &Selection) -> Option<Timestamp> {
        self.next_due.get(selection).copied().unwrap_or(LOOK)
    }

    async fn transact(&mut self, batch: &Batch, wanted: &[Wanted], now: Timestamp) -> Result<Done, Failure> {
        match self.transaction(batch, wanted, now).await {
            Ok(done) => Ok(done),
            Err(failure) => {
                // After some errors SQLite has rolled back already; then this statement fails, which is fine.
                self.statement("ROLLBACK").await.ok();
                // What the queue holds is unknown, so the next receive has to look.
                self.next_due.clear();
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
