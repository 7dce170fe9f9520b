//! The connection that writes, and what one transaction does with it.

use std::fs::File;

use bk_plugin_core::clock::Timestamp;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::{SqliteOptions, queue, table};
use crate::writer::{Batch, Database, Done, Failure};

/// It is not known when the next message is due: the next receive has to look.
const LOOK: Option<Timestamp> = Some(Timestamp::from_millis(i64::MIN));

/// The next free numbers. The writer is the only one who gives them out, so that it can write the rows of a
/// transaction without asking for the number of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    pub(super) invocation: i64,
    pub(super) entry: i64,
    pub(super) message: i64,
}

impl Counters {
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let (invocation, entry, message) = sqlx::query_as(
            "SELECT (SELECT coalesce(max(id), 0) + 1 FROM invocations), \
                    (SELECT coalesce(max(seq), 0) + 1 FROM inbox), \
                    (SELECT coalesce(max(id), 0) + 1 FROM messages)",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self { invocation, entry, message })
    }
}

/// Hands out the number a counter stands at.
pub(super) fn take(counter: &mut i64) -> i64 {
    let number = *counter;
    *counter += 1;
    number
}

/// The file, as its only writer has it.
pub(super) struct SqliteFile {
    connection: SqliteConnection,
    counters: Counters,
    options: SqliteOptions,
    /// No message can be received before then; `None`: there is none.
    next_due: Option<Timestamp>,
    lock: File,
}

impl SqliteFile {
    pub(super) fn new(
        connection: SqliteConnection,
        counters: Counters,
        options: SqliteOptions,
        lock: File,
    ) -> Self {
        Self { connection, counters, options, next_due: LOOK, lock }
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
        self.statement("COMMIT").await.map_err(Failure::Transaction)?;
        Ok(done)
    }

    /// Also returns when the next message is due.
    async fn work(
        &mut self,
        batch: &Batch,
        wanted: usize,
        now: Timestamp,
    ) -> Result<(Done, Option<Timestamp>), sqlx::Error> {
        let connection = &mut self.connection;
        let mut next_due = batch.sends.iter().map(|send| send.due_at).chain(self.next_due).min();
        let mut done = Done::default();
        for expire in &batch.expiries {
            done.expired.push(table::expire(connection, expire.now, expire.at_most).await?);
        }
        let limit = self.options.largest_record;
        done.changes = table::change(connection, &batch.changes, &mut self.counters, limit).await?;
        queue::send(connection, &batch.sends, &mut self.counters).await?;
        let handles: Vec<_> = batch.deletes.iter().map(|delete| delete.handle).collect();
        queue::delete(connection, &handles).await?;
        queue::bury(connection, &batch.burials, now).await?;
        if wanted > 0 {
            let hidden_until = now + self.options.visibility_timeout;
            done.received = queue::receive(connection, wanted, now, hidden_until).await?;
            // All that was asked for: there may be more.
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
                // After some errors SQLite has rolled back already; then this fails, and that is well.
                self.statement("ROLLBACK").await.ok();
                // Whatever is in the queue now, the next receive looks.
                self.next_due = LOOK;
                Err(failure)
            }
        }
    }

    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; it will be put in order when it is opened");
        }
        drop(self.lock);
    }
}
