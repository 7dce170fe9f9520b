//! The writer's connection, what one transaction does with it, and what is done when it fails.

use std::time::{Duration, Instant};

use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::table::{BackOff, StoreError};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{Connection as _, Executor as _};

use super::address::{Session, connect, timed_out};
use super::due_messages::{HEAD_START, Mailbox};
use super::queue::NewMessage;
use super::recovery::Trouble;
use super::{MysqlOptions, queue, table};
use crate::writer::{Batch, Database, Done, Failure, store_error};

/// A transaction that takes longer is given up, with its connection: whoever is at the other end may be gone
/// without a word.
const TRANSACTION_TIME: Duration = Duration::from_secs(10);

/// A read that takes longer is given up.
const READ_TIME: Duration = Duration::from_secs(10);

/// A connection that was idle for so long is not used again: the server, or something on the way to it, cuts those.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// How often a transaction is begun that others are in the way of, and for how long. Everybody else waits
/// meanwhile.
const ATTEMPTS: u32 = 6;
const ATTEMPTS_TIME: Duration = Duration::from_secs(4);

const CONFLICTS: BackOff = BackOff { first: Duration::from_millis(5), longest: Duration::from_millis(200) };

const RECONNECTS: BackOff = BackOff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// Bytes of a packet that are left for what is not counted as part of a record: its error, its names, its
/// numbers.
const BESIDE_A_RECORD: usize = 192 * 1024;

/// The largest record that fits into a packet.
pub(super) fn largest_record(options: &MysqlOptions, packet: usize) -> usize {
    options.largest_record.min(packet.saturating_sub(BESIDE_A_RECORD))
}

/// The database, as the writer of this process has it.
pub(super) struct MysqlDatabase {
    connect: MySqlConnectOptions,
    options: MysqlOptions,
    session: Option<Writing>,
    /// Transactions in a row that the database did not take.
    failures: u32,
    mailbox: Mailbox,
    /// Whether this process receives. Messages of one that does not are everybody's at once.
    receives: bool,
}

struct Writing {
    connection: MySqlConnection,
    /// `max_allowed_packet`.
    packet: usize,
    used_at: Instant,
}

/// A transaction that was not made.
struct Interrupted {
    error: sqlx::Error,
    trouble: Trouble,
    /// Nobody knows whether it was made.
    committing: bool,
}

impl MysqlDatabase {
    pub(super) fn new(connect: MySqlConnectOptions, options: MysqlOptions) -> Self {
        Self { connect, options, session: None, failures: 0, mailbox: Mailbox::new(), receives: false }
    }

    async fn attempt(&mut self, batch: &Batch, wanted: usize, now: Timestamp) -> Result<Done, Interrupted> {
        let connecting = connected(&mut self.session, &self.connect, self.failures).await;
        // Whatever the server says to someone who connects, no statement is to blame.
        let before = |error| Interrupted { error, trouble: Trouble::Connection, committing: false };
        let session = connecting.map_err(before)?;
        self.receives |= wanted > 0;
        let head_start = if self.receives { HEAD_START } else { Duration::ZERO };
        let messages: Vec<_> = batch
            .sends
            .iter()
            .map(|send| NewMessage {
                id: random_number(),
                visible_at: send.due_at + head_start,
                body: &send.body,
            })
            .collect();
        let due = self.mailbox.take_due(wanted, now);
        let receiving = Receiving {
            own: due.iter().map(|(_, id)| *id).collect(),
            others: if self.mailbox.is_time_to_look(now) { wanted - due.len() } else { 0 },
            hidden_until: now + self.options.visibility_timeout,
        };
        let limit = largest_record(&self.options, session.packet);
        let working = session.work(batch, &messages, &receiving, limit, now);
        let worked = match within(TRANSACTION_TIME, "transaction", working).await {
            Ok(worked) => session.commit().await.map(|()| worked).map_err(|error| (error, true)),
            Err(error) => Err((error, false)),
        };
        match worked {
            Ok((done, found)) => {
                for (send, message) in batch.sends.iter().zip(&messages) {
                    self.mailbox.sent(message.id, send.due_at);
                }
                if receiving.others > 0 {
                    self.mailbox.looked(found, receiving.others, now);
                }
                Ok(done)
            }
            Err((error, committing)) => {
                self.mailbox.put_back(due);
                Err(Interrupted { trouble: Trouble::of(&error), error, committing })
            }
        }
    }

    /// Ends a transaction that a statement failed in. A connection that cannot do that is let go.
    async fn roll_back(&mut self) {
        if let Some(session) = &mut self.session {
            let rolling_back = session.connection.execute(sqlx::raw_sql("ROLLBACK"));
            if within(TRANSACTION_TIME, "rollback", rolling_back).await.is_err() {
                self.session = None;
            }
        }
    }
}

/// The connection, or a new one if there is none that is good.
async fn connected<'a>(
    session: &'a mut Option<Writing>,
    options: &MySqlConnectOptions,
    failures: u32,
) -> Result<&'a mut Writing, sqlx::Error> {
    let used_at = Instant::now();
    let writing = match session.take() {
        Some(writing) if writing.used_at.elapsed() < LONGEST_IDLE => Writing { used_at, ..writing },
        _ => {
            if failures > 0 {
                tokio::time::sleep(jittered(RECONNECTS.delay(failures - 1))).await;
            }
            let mut connection = connect(options, Some(Session::Writing)).await?;
            let packet = packet(&mut connection).await?;
            Writing { connection, packet, used_at }
        }
    };
    Ok(session.insert(writing))
}

impl Database for MysqlDatabase {
    fn next_look(&self) -> Option<Timestamp> {
        Some(self.mailbox.next_look())
    }

    async fn transact(&mut self, batch: &Batch, wanted: usize, now: Timestamp) -> Result<Done, Failure> {
        let (mut attempts, begun) = (0, Instant::now());
        loop {
            attempts += 1;
            let Interrupted { error, trouble, committing } = match self.attempt(batch, wanted, now).await {
                Ok(done) => {
                    self.failures = 0;
                    return Ok(done);
                }
                Err(interrupted) => interrupted,
            };
            match trouble {
                Trouble::Conflict => {
                    self.roll_back().await;
                    if attempts == ATTEMPTS || begun.elapsed() > ATTEMPTS_TIME {
                        return Err(Failure::Transaction(error));
                    }
                    tracing::debug!(%error, attempts, "another transaction was in the way");
                    tokio::time::sleep(jittered(CONFLICTS.delay(attempts - 1))).await;
                }
                Trouble::Connection => {
                    self.session = None;
                    self.failures = self.failures.saturating_add(1);
                    // The first time it may have been an old connection only; and what was not to be committed
                    // yet was not made.
                    if committing || self.failures > 1 {
                        return Err(Failure::Transaction(error));
                    }
                    tracing::warn!(%error, "the connection to the database is lost, another one is opened");
                }
                Trouble::Statement => {
                    self.roll_back().await;
                    return Err(Failure::Statement(error));
                }
            }
        }
    }

    async fn close(self) {
        if let Some(session) = self.session
            && let Err(error) = within(TRANSACTION_TIME, "close", session.connection.close()).await
        {
            tracing::debug!(%error, "the connection to the database was not closed cleanly");
        }
    }
}

/// What is to be received.
struct Receiving {
    /// Messages of this process that are due.
    own: Vec<i64>,
    /// How many messages of others are looked for.
    others: usize,
    hidden_until: Timestamp,
}

impl Writing {
    /// Everything but the COMMIT. Also returns how many messages of others were found.
    async fn work(
        &mut self,
        batch: &Batch,
        messages: &[NewMessage<'_>],
        receiving: &Receiving,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Done, usize), sqlx::Error> {
        let connection = &mut self.connection;
        let packet = self.packet / 2;
        let mut done = Done::default();
        for expire in &batch.expiries {
            done.expired.push(table::expire(connection, expire.now, expire.at_most).await?);
        }
        done.changes = table::change(connection, &batch.changes, limit, packet).await?;
        queue::send(connection, messages, packet).await?;
        let handles: Vec<_> = batch.deletes.iter().map(|delete| delete.handle).collect();
        queue::delete(connection, &handles).await?;
        queue::bury(connection, &batch.burials, now).await?;
        let mut ids = receiving.own.clone();
        let mut found = 0;
        if receiving.others > 0 {
            let visible = queue::visible(connection, receiving.others, now).await?;
            found = visible.len();
            ids.extend(visible);
        }
        done.received = queue::claim(connection, &ids, now, receiving.hidden_until).await?;
        Ok((done, found))
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let committing = self.connection.execute(sqlx::raw_sql("COMMIT"));
        within(TRANSACTION_TIME, "commit", committing).await.map(drop)
    }
}

/// The server's `max_allowed_packet`.
pub(super) async fn packet(connection: &mut MySqlConnection) -> Result<usize, sqlx::Error> {
    let asking = sqlx::query_scalar("SELECT CAST(@@max_allowed_packet AS SIGNED)").fetch_one(connection);
    let bytes: i64 = within(TRANSACTION_TIME, "max_allowed_packet", asking).await?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Does something in bounded time.
async fn within<T>(
    time: Duration,
    what: &str,
    doing: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(time, doing).await.unwrap_or_else(|_| Err(timed_out(what)))
}

/// Reads in bounded time.
pub(super) async fn in_time<T>(
    reading: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    within(READ_TIME, "read", reading).await.map_err(store_error)
}

/// Between half of a delay and all of it: those who failed together do not come again together.
pub(super) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// A positive number that nobody else draws.
fn random_number() -> i64 {
    rand::random::<i64>() & i64::MAX
}
