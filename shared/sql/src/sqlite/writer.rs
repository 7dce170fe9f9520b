//! The task that makes every change.

use std::fs::File;
use std::sync::Arc;

use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::table::StoreError;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::queue::{Bury, Delete, MessageRow, Receive, Send};
use super::table::{Change, ChangeAnswer};
use super::{SqliteOptions, queue, store_error, table};

/// Jobs done in one transaction at most. It bounds how long the first one waits for the last.
pub(super) const MOST_JOBS: usize = 512;

/// It is not known when the next message is due: the next receive has to look.
const LOOK: Option<Timestamp> = Some(Timestamp::from_millis(i64::MIN));

/// Where the answer to a job goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Job {
    Change(Change),
    Send(Send),
    Delete(Delete),
    Bury(Bury),
    Receive(Receive),
    Expire(Expire),
    Close(oneshot::Sender<()>),
}

/// Asks for finished records to be deleted.
pub(super) struct Expire {
    pub(super) now: Timestamp,
    pub(super) at_most: u32,
    pub(super) answer: Answer<u64>,
}

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

/// A receiver that waits for a message.
struct Parked {
    max: usize,
    until: Timestamp,
    answer: Answer<Vec<MessageRow>>,
}

/// Jobs that are done in one transaction, by kind. They were all waiting at the same time, so any order of
/// them is as good as another: the one that takes the fewest statements is chosen.
#[derive(Default)]
struct Batch {
    expiries: Vec<Expire>,
    changes: Vec<Change>,
    sends: Vec<Send>,
    deletes: Vec<Delete>,
    burials: Vec<Bury>,
}

/// What came of a batch.
struct Done {
    expired: Vec<u64>,
    changes: Vec<Result<ChangeAnswer, StoreError>>,
    received: Vec<MessageRow>,
    next_due: Option<Timestamp>,
}

/// Why a batch was not done. Nothing of it was, or (for a commit) nobody knows.
enum Failure {
    /// A statement failed: one of the jobs may be to blame.
    Statement(sqlx::Error),
    /// The transaction could not be begun or ended.
    Transaction(sqlx::Error),
}

/// Owns the connection that writes.
pub(super) struct Writer {
    connection: SqliteConnection,
    jobs: mpsc::Receiver<Job>,
    counters: Counters,
    options: SqliteOptions,
    parked: Vec<Parked>,
    /// No message can be received before then; `None`: there is none.
    next_due: Option<Timestamp>,
    closing: Vec<oneshot::Sender<()>>,
    lock: File,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        jobs: mpsc::Receiver<Job>,
        counters: Counters,
        options: SqliteOptions,
        lock: File,
    ) -> Self {
        Self {
            connection,
            jobs,
            counters,
            options,
            parked: Vec::new(),
            next_due: LOOK,
            closing: Vec::new(),
            lock,
        }
    }

    /// Works until the store is closed or dropped.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MOST_JOBS);
        while self.wait(&mut waiting).await {
            let batch = self.sort(&mut waiting);
            self.process(batch).await;
            self.let_go_of_late_receivers();
        }
        self.parked.drain(..).for_each(|parked| drop(parked.answer.send(Ok(Vec::new()))));
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed cleanly; it will be put in order when it is opened");
        }
        drop(self.lock);
        for closed in self.closing {
            closed.send(()).ok();
        }
    }

    /// Waits for jobs, or for the moment a parked receiver is to be answered. False: there will be no more.
    async fn wait(&mut self, waiting: &mut Vec<Job>) -> bool {
        let Some(wake_at) = self.wake_at() else {
            return self.jobs.recv_many(waiting, MOST_JOBS).await > 0;
        };
        let pause = wake_at.since(self.options.clock.now());
        tokio::select! {
            biased;
            count = self.jobs.recv_many(waiting, MOST_JOBS) => count > 0,
            () = self.options.clock.sleep(pause) => true,
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let first_late = self.parked.iter().map(|parked| parked.until).min()?;
        Some(self.next_due.map_or(first_late, |due| due.min(first_late)))
    }

    fn sort(&mut self, waiting: &mut Vec<Job>) -> Batch {
        let mut batch = Batch::default();
        for job in waiting.drain(..) {
            match job {
                Job::Change(change) => batch.changes.push(change),
                Job::Send(send) => batch.sends.push(send),
                Job::Delete(delete) => batch.deletes.push(delete),
                Job::Bury(bury) => batch.burials.push(bury),
                Job::Expire(expire) => batch.expiries.push(expire),
                Job::Receive(Receive { max, wait, answer }) => {
                    let until = self.options.clock.now() + wait;
                    self.parked.push(Parked { max, until, answer });
                }
                Job::Close(closed) => {
                    // What waits already is still done.
                    self.jobs.close();
                    self.closing.push(closed);
                }
            }
        }
        batch
    }

    async fn process(&mut self, batch: Batch) {
        // Messages must not be hidden for receivers that have gone.
        self.parked.retain(|parked| !parked.answer.is_closed());
        let wanted = self.parked.iter().map(|parked| parked.max).sum();
        match self.attempt(&batch, wanted).await {
            Ok(done) => self.answer(batch, done),
            Err(Failure::Statement(error)) if batch.len() + usize::from(wanted > 0) > 1 => {
                tracing::warn!(%error, jobs = batch.len(), "a transaction of several jobs failed; each is tried alone");
                for single in batch.into_singles() {
                    self.process_alone(single, 0).await;
                }
                self.process_alone(Batch::default(), wanted).await;
            }
            Err(Failure::Statement(error) | Failure::Transaction(error)) => self.fail(batch, wanted, error),
        }
    }

    async fn process_alone(&mut self, batch: Batch, wanted: usize) {
        match self.attempt(&batch, wanted).await {
            Ok(done) => self.answer(batch, done),
            Err(Failure::Statement(error) | Failure::Transaction(error)) => self.fail(batch, wanted, error),
        }
    }

    /// Does a batch in one transaction. `wanted`: messages the parked receivers take.
    async fn attempt(&mut self, batch: &Batch, wanted: usize) -> Result<Done, Failure> {
        let now = self.options.clock.now();
        let due_at = batch.sends.iter().map(|send| send.visible_at).chain(self.next_due).min();
        let wanted = if due_at.is_some_and(|due_at| due_at <= now) { wanted } else { 0 };
        if batch.len() + wanted == 0 {
            return Ok(Done::nothing(due_at));
        }
        let done = self.transaction(batch, wanted, now, due_at).await;
        if done.is_err() {
            // After some errors SQLite has rolled back already; then this fails, and that is well.
            self.statement("ROLLBACK").await.ok();
            // Whatever is in the queue now, the next receive looks.
            self.next_due = LOOK;
        }
        done
    }

    async fn transaction(
        &mut self,
        batch: &Batch,
        wanted: usize,
        now: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<Done, Failure> {
        self.statement("BEGIN IMMEDIATE").await.map_err(Failure::Transaction)?;
        let done = self.work(batch, wanted, now, due_at).await.map_err(Failure::Statement)?;
        self.statement("COMMIT").await.map_err(Failure::Transaction)?;
        Ok(done)
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.connection).await.map(drop)
    }

    async fn work(
        &mut self,
        batch: &Batch,
        wanted: usize,
        now: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<Done, sqlx::Error> {
        let connection = &mut self.connection;
        let mut done = Done::nothing(due_at);
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
            done.next_due = if exhausted { queue::next_due(connection).await? } else { Some(now) };
        }
        Ok(done)
    }

    fn answer(&mut self, batch: Batch, done: Done) {
        self.next_due = done.next_due;
        self.hand_out(done.received);
        // A caller that does not wait any more is no error.
        for (change, answer) in batch.changes.into_iter().zip(done.changes) {
            change.answer.send(answer).ok();
        }
        for (expire, count) in batch.expiries.into_iter().zip(done.expired) {
            expire.answer.send(Ok(count)).ok();
        }
        let sent = batch.sends.into_iter().map(|send| send.answer);
        let deleted = batch.deletes.into_iter().map(|delete| delete.answer);
        let buried = batch.burials.into_iter().map(|bury| bury.answer);
        sent.chain(deleted).chain(buried).for_each(|answer| drop(answer.send(Ok(()))));
    }

    /// Gives messages to the parked receivers, first come, first served.
    fn hand_out(&mut self, received: Vec<MessageRow>) {
        let mut received = received.into_iter().peekable();
        while received.peek().is_some() && !self.parked.is_empty() {
            let parked = self.parked.remove(0);
            parked.answer.send(Ok(received.by_ref().take(parked.max).collect())).ok();
        }
    }

    fn let_go_of_late_receivers(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let now = self.options.clock.now();
        for late in self.parked.extract_if(.., |parked| parked.until <= now) {
            late.answer.send(Ok(Vec::new())).ok();
        }
    }

    fn fail(&mut self, batch: Batch, wanted: usize, error: sqlx::Error) {
        tracing::error!(%error, "the database did not take a change");
        let error = Arc::new(error);
        let failed = || store_error(error.clone());
        if wanted > 0 {
            self.parked.drain(..).for_each(|parked| drop(parked.answer.send(Err(failed()))));
        }
        batch.changes.into_iter().for_each(|change| drop(change.answer.send(Err(failed()))));
        batch.expiries.into_iter().for_each(|expire| drop(expire.answer.send(Err(failed()))));
        let sent = batch.sends.into_iter().map(|send| send.answer);
        let deleted = batch.deletes.into_iter().map(|delete| delete.answer);
        let buried = batch.burials.into_iter().map(|bury| bury.answer);
        sent.chain(deleted).chain(buried).for_each(|answer| drop(answer.send(Err(failed()))));
    }
}

impl Batch {
    fn len(&self) -> usize {
        let Self { expiries, changes, sends, deletes, burials } = self;
        expiries.len() + changes.len() + sends.len() + deletes.len() + burials.len()
    }

    fn into_singles(self) -> impl Iterator<Item = Self> {
        let Self { expiries, changes, sends, deletes, burials } = self;
        let expiries = expiries.into_iter().map(|one| Self { expiries: vec![one], ..Self::default() });
        let changes = changes.into_iter().map(|one| Self { changes: vec![one], ..Self::default() });
        let sends = sends.into_iter().map(|one| Self { sends: vec![one], ..Self::default() });
        let deletes = deletes.into_iter().map(|one| Self { deletes: vec![one], ..Self::default() });
        let burials = burials.into_iter().map(|one| Self { burials: vec![one], ..Self::default() });
        expiries.chain(changes).chain(sends).chain(deletes).chain(burials)
    }
}

impl Done {
    fn nothing(next_due: Option<Timestamp>) -> Self {
        Self { expired: Vec::new(), changes: Vec::new(), received: Vec::new(), next_due }
    }
}
