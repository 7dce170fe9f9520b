//! The database as this process's writer sees it: one connection, and what to do when a transaction fails.

use std::time::{Duration, Instant};

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Selection;
use sqlx::mysql::MySqlConnectOptions;

use super::due_messages::{DueMessages, HEAD_START, OwnMessage};
use super::options::MysqlOptions;
use super::queue::NewMessage;
use super::recovery::{Recovery, jittered};
use super::writer_session::{Receiving, Worked, WriterSession};
use crate::database::{Batch, Database, Done, Failure, Wanted};
use crate::store_clock::{NotedTime, StoreClock};

/// How often, and for how long, a conflicting transaction is retried. This process's other requests wait
/// meanwhile.
const ATTEMPTS: u32 = 6;
const ATTEMPTS_TIME: Duration = Duration::from_secs(4);

const CONFLICTS: BackOff = BackOff { first: Duration::from_millis(5), longest: Duration::from_millis(200) };

const RECONNECTS: BackOff = BackOff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// The writer's connection, with what this process knows of the queue.
pub(super) struct MysqlDatabase {
    connect: MySqlConnectOptions,
    options: MysqlOptions,
    session: Option<WriterSession>,
    /// Transactions in a row that lost their connection.
    failures: u32,
    due_messages: DueMessages,
    clock: StoreClock,
    noted_time: NotedTime,
    /// Whether this process receives. If not, any process may receive its messages as soon as they are due.
    receives: bool,
}

/// A transaction that failed.
struct FailedAttempt {
    error: sqlx::Error,
    recovery: Recovery,
    /// The COMMIT failed: the database may have made the transaction all the same.
    committing: bool,
}

impl MysqlDatabase {
    pub(super) fn new(connect: MySqlConnectOptions, options: MysqlOptions, clock: StoreClock) -> Self {
        let (due_messages, noted_time) = (DueMessages::new(), NotedTime::default());
        Self {
            connect,
            options,
            session: None,
            failures: 0,
            due_messages,
            clock,
            noted_time,
            receives: false,
        }
    }

    async fn attempt(
        &mut self,
        batch: &Batch,
        wanted: &[Wanted],
        now: Timestamp,
    ) -> Result<Done, FailedAttempt> {
        let connecting = connected(&mut self.session, &self.connect, self.failures).await;
        // Whatever the server answers to a connection attempt, no statement is the cause.
        let before = |error| FailedAttempt { error, recovery: Recovery::Reconnect, committing: false };
        let session = connecting.map_err(before)?;
        self.receives |= !wanted.is_empty();
        let head_start = |due_at| {
            if self.receives && self.due_messages.remembers(due_at) { HEAD_START } else { Duration::ZERO }
        };
        let messages: Vec<_> = batch
            .sends
            .iter()
            .map(|send| {
                let visible_at = send.due_at + head_start(send.due_at);
                NewMessage { id: random_number(), visible_at, send }
            })
            .collect();
        let mut due = Vec::new();
        let mut receiving = Vec::new();
        for Wanted { selection, count } in wanted {
            let own = self.due_messages.take_due(selection, *count, now);
            receiving.push(Receiving {
                selection,
                own: own.iter().map(OwnMessage::id).collect(),
                others: if self.due_messages.is_time_to_look(selection, now) { count - own.len() } else { 0 },
                hidden_until: now + self.options.visibility_timeout,
            });
            due.extend(own);
        }
        let limit = self.options.largest_record_in(session.packet);
        let notes_time = self.noted_time.is_due(batch, now);
        let made = match session.work(batch, &messages, &receiving, limit, now, notes_time).await {
            Ok(worked) => session.commit().await.map(|()| worked).map_err(|error| (error, true)),
            Err(error) => Err((error, false)),
        };
        match made {
            Ok(Worked { done, found, server_time }) => {
                if let Some(time) = server_time {
                    self.noted_time.note(now);
                    self.clock.follow(time);
                }
                for NewMessage { id, send, .. } in messages {
                    self.due_messages.note_sent(id, send);
                }
                for (Receiving { selection, others, .. }, found) in receiving.iter().zip(found) {
                    if *others > 0 {
                        self.due_messages.note_look(selection, found, *others, now);
                    }
                }
                Ok(done)
            }
            Err((error, committing)) => {
                self.due_messages.put_back(due);
                Err(FailedAttempt { recovery: Recovery::after(&error), error, committing })
            }
        }
    }

    /// Ends a transaction in which a statement failed. Drops the connection if that fails, too.
    async fn roll_back(&mut self) {
        if let Some(session) = &mut self.session
            && session.roll_back().await.is_err()
        {
            self.session = None;
        }
    }
}

/// Returns the connection if it is fresh, or opens a new one.
async fn connected<'a>(
    session: &'a mut Option<WriterSession>,
    options: &MySqlConnectOptions,
    failures: u32,
) -> Result<&'a mut WriterSession, sqlx::Error> {
    let connected = match session.take() {
        Some(connected) if connected.is_fresh() => connected,
        _ => {
            if failures > 0 {
                tokio::time::sleep(jittered(RECONNECTS.delay(failures - 1))).await;
            }
            WriterSession::open(options).await?
        }
    };
    Ok(session.insert(connected))
}

impl Database for MysqlDatabase {
    fn next_look(&self, selection: &Selection) -> Option<Timestamp> {
        Some(self.due_messages.next_look(selection))
    }

    async fn transact(&mut self, batch: &Batch, wanted: &[Wanted], now: Timestamp) -> Result<Done, Failure> {
        let (mut attempts, begun) = (0, Instant::now());
        loop {
            attempts += 1;
            let FailedAttempt { error, recovery, committing } = match self.attempt(batch, wanted, now).await {
                Ok(done) => {
                    self.failures = 0;
                    return Ok(done);
                }
                Err(failed) => failed,
            };
            match recovery {
                Recovery::Retry => {
                    self.roll_back().await;
                    if attempts == ATTEMPTS || begun.elapsed() > ATTEMPTS_TIME {
                        return Err(Failure::Transaction(error));
                    }
                    tracing::debug!(%error, attempts, "another transaction was in the way");
                    tokio::time::sleep(jittered(CONFLICTS.delay(attempts - 1))).await;
                }
                Recovery::Reconnect => {
                    self.session = None;
                    self.failures = self.failures.saturating_add(1);
                    // The first failure may only mean that the connection was old. A transaction that was not
                    // being committed was not made, so it can be retried.
                    if committing || self.failures > 1 {
                        return Err(Failure::Transaction(error));
                    }
                    tracing::warn!(%error, "the connection to the database is lost, another one is opened");
                }
                Recovery::GiveUp => {
                    self.roll_back().await;
                    return Err(Failure::Statement(error));
                }
            }
        }
    }

    async fn close(self) {
        if let Some(session) = self.session
            && let Err(error) = session.close().await
        {
            tracing::debug!(%error, "the connection to the database was not closed cleanly");
        }
    }
}

/// A random positive number: no other process draws the same one.
fn random_number() -> i64 {
    rand::random::<i64>() & i64::MAX
}
