//! The writer's connection, and the statements of one transaction.

use std::time::{Duration, Instant};

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Selection;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{Connection as _, Executor as _};

use super::queue::{self, NewMessage};
use super::session::{SessionKind, connect, packet, server_time};
use super::table::{self, MysqlRecords};
use super::time_limits::{TRANSACTION_TIME, within};
use crate::database::{Batch, Done};
use crate::transaction;

/// The longest time that a connection may be idle. The server, or the network on the way to it, cuts older ones.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// The writer's connection.
pub(super) struct WriterSession {
    connection: MySqlConnection,
    /// `max_allowed_packet`.
    pub(super) packet: usize,
    used_at: Instant,
}

/// The messages of a selection that a transaction receives.
pub(super) struct Receiving<'a> {
    pub(super) selection: &'a Selection,
    /// Messages of this process that are due.
    pub(super) own: Vec<i64>,
    /// Most messages to take of those that any process may receive; 0: none is looked for.
    pub(super) others: usize,
    pub(super) hidden_until: Timestamp,
}

/// What a transaction did besides the results of its batch.
pub(super) struct Worked {
    pub(super) done: Done,
    /// How many messages of other processes it found for each selection.
    pub(super) found: Vec<usize>,
    /// The time by the server's clock, if the transaction noted the time.
    pub(super) server_time: Option<Timestamp>,
}

impl WriterSession {
    pub(super) async fn open(options: &MySqlConnectOptions) -> Result<Self, sqlx::Error> {
        let mut connection = connect(options, Some(SessionKind::Writer)).await?;
        let packet = packet(&mut connection).await?;
        Ok(Self { connection, packet, used_at: Instant::now() })
    }

    /// Whether the connection was used so lately that it should still work.
    pub(super) fn is_fresh(&self) -> bool {
        self.used_at.elapsed() < LONGEST_IDLE
    }

    /// Makes one transaction, up to the COMMIT. With `notes_time` it also notes that it is `now`.
    pub(super) async fn work(
        &mut self,
        batch: &Batch,
        messages: &[NewMessage<'_>],
        receiving: &[Receiving<'_>],
        limit: usize,
        now: Timestamp,
        notes_time: bool,
    ) -> Result<Worked, sqlx::Error> {
        self.used_at = Instant::now();
        let statements = async {
            let (done, found) = self.statements(batch, messages, receiving, limit, now).await?;
            let server_time = if notes_time {
                queue::note_time(&mut self.connection, now).await?;
                Some(server_time(&mut self.connection).await?)
            } else {
                None
            };
            Ok(Worked { done, found, server_time })
        };
        within(TRANSACTION_TIME, "transaction", statements).await
    }

    async fn statements(
        &mut self,
        batch: &Batch,
        messages: &[NewMessage<'_>],
        receiving: &[Receiving<'_>],
        limit: usize,
        now: Timestamp,
    ) -> Result<(Done, Vec<usize>), sqlx::Error> {
        let connection = &mut self.connection;
        let packet = self.packet / 2;
        let mut done = Done::default();
        for expiry in &batch.expiries {
            done.expired.push(table::expire(connection, expiry.now, expiry.at_most).await?);
        }
        let mut records = MysqlRecords { connection, packet };
        done.changes = transaction::change(&mut records, &batch.changes, limit).await?;
        queue::send(connection, messages, packet).await?;
        let handles: Vec<_> = batch.deletes.iter().map(|delete| delete.handle).collect();
        queue::delete(connection, &handles).await?;
        queue::move_to_dead_letters(connection, &batch.dead_letters, now).await?;
        let mut found = Vec::new();
        for Receiving { selection, own, others, hidden_until } in receiving {
            let mut ids = own.clone();
            if *others > 0 {
                ids.extend(queue::visible(connection, selection, *others, now).await?);
            }
            found.push(ids.len() - own.len());
            done.received.push(queue::claim(connection, &ids, now, *hidden_until).await?);
        }
        Ok((done, found))
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let committing = self.connection.execute(sqlx::raw_sql("COMMIT"));
        within(TRANSACTION_TIME, "commit", committing).await.map(drop)
    }

    pub(super) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        let rolling_back = self.connection.execute(sqlx::raw_sql("ROLLBACK"));
        within(TRANSACTION_TIME, "rollback", rolling_back).await.map(drop)
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        within(TRANSACTION_TIME, "close", self.connection.close()).await
    }
}
