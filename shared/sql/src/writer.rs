//! The task that makes every change of a store.
//!
//! It takes whatever waits for it, has the database make it in one transaction, and answers when that is
//! committed: many callers share one flush.

use std::sync::Arc;

use bk_plugin_kit::clock::{Clock, Timestamp};
use bk_plugin_kit::table::StoreError;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::request::{Answer, Bury, Delete, Expire, Job, MessageRow, Receive, Send};
use crate::transaction::{Change, ChangeAnswer};

/// Jobs done in one transaction at most. It bounds how long the first one waits for the last.
pub(crate) const MOST_JOBS: usize = 512;

/// Bytes that are enough for one transaction: no further job is taken then.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// A database with one connection that writes.
pub(crate) trait Database: std::marker::Send + 'static {
    /// When it is worth looking for messages next, as far as is known; `None`: there are none.
    fn next_look(&self) -> Option<Timestamp>;

    /// Does a batch in one transaction at `now`. `wanted`: messages that receivers wait for.
    fn transact(
        &mut self,
        batch: &Batch,
        wanted: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Done, Failure>> + std::marker::Send;

    /// Closes the connection; nothing is under way.
    fn close(self) -> impl Future<Output = ()> + std::marker::Send;
}

/// Jobs that are done in one transaction, by kind. They were all waiting at the same time, so any order of
/// them is as good as another: the one that takes the fewest statements is chosen.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) expiries: Vec<Expire>,
    pub(crate) changes: Vec<Change>,
    pub(crate) sends: Vec<Send>,
    pub(crate) deletes: Vec<Delete>,
    pub(crate) burials: Vec<Bury>,
}

/// What came of a batch.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) expired: Vec<u64>,
    pub(crate) changes: Vec<Result<ChangeAnswer, StoreError>>,
    pub(crate) received: Vec<MessageRow>,
}

/// Why a batch was not done. Nothing of it was, or (for a commit) nobody knows.
pub(crate) enum Failure {
    /// A statement failed: one of the jobs may be to blame.
    Statement(sqlx::Error),
    /// The database does not take any transaction now, or this one could not be ended.
    Transaction(sqlx::Error),
}

/// A receiver that waits for a message.
struct Parked {
    max: usize,
    until: Timestamp,
    answer: Answer<Vec<MessageRow>>,
}

/// The task, and the database it owns.
pub(crate) struct Writer<D> {
    database: D,
    jobs: mpsc::Receiver<Job>,
    clock: Arc<dyn Clock>,
    parked: Vec<Parked>,
    closing: Vec<oneshot::Sender<()>>,
}

impl<D: Database> Writer<D> {
    /// Starts the task. It ends when the store is closed, or when nobody can ask it any more.
    pub(crate) fn start(database: D, clock: Arc<dyn Clock>) -> mpsc::Sender<Job> {
        let (asking, jobs) = mpsc::channel(2 * MOST_JOBS);
        let writer = Self { database, jobs, clock, parked: Vec::new(), closing: Vec::new() };
        tokio::spawn(writer.run());
        asking
    }

    async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MOST_JOBS);
        while !waiting.is_empty() || self.wait(&mut waiting).await {
            let batch = self.sort(&mut waiting);
            self.process(batch).await;
            self.let_go_of_late_receivers();
        }
        self.parked.drain(..).for_each(|parked| drop(parked.answer.send(Ok(Vec::new()))));
        self.database.close().await;
        for closed in self.closing {
            closed.send(()).ok();
        }
    }

    /// Waits for jobs, or for the moment a parked receiver is to be answered. False: there will be no more.
    async fn wait(&mut self, waiting: &mut Vec<Job>) -> bool {
        let Some(wake_at) = self.wake_at() else {
            return self.jobs.recv_many(waiting, MOST_JOBS).await > 0;
        };
        let pause = wake_at.since(self.clock.now());
        if pause.is_zero() {
            return self.take_what_waits(waiting);
        }
        tokio::select! {
            biased;
            count = self.jobs.recv_many(waiting, MOST_JOBS) => count > 0,
            () = self.clock.sleep(pause) => true,
        }
    }

    /// Takes the jobs that are there. False: there will be no more.
    fn take_what_waits(&mut self, waiting: &mut Vec<Job>) -> bool {
        while waiting.len() < MOST_JOBS {
            match self.jobs.try_recv() {
                Ok(job) => waiting.push(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return !waiting.is_empty(),
            }
        }
        true
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let first_late = self.parked.iter().map(|parked| parked.until).min()?;
        Some(self.database.next_look().map_or(first_late, |look| look.min(first_late)))
    }

    /// Takes the jobs for one transaction.
    fn sort(&mut self, waiting: &mut Vec<Job>) -> Batch {
        let mut bytes = 0;
        let enough = waiting.iter().position(|job| {
            bytes += job.size();
            bytes >= MOST_BYTES
        });
        let mut batch = Batch::default();
        for job in waiting.drain(..enough.map_or(waiting.len(), |last| last + 1)) {
            match job {
                Job::Change(change) => batch.changes.push(change),
                Job::Send(send) => batch.sends.push(send),
                Job::Delete(delete) => batch.deletes.push(delete),
                Job::Bury(bury) => batch.burials.push(bury),
                Job::Expire(expire) => batch.expiries.push(expire),
                Job::Receive(Receive { max, wait, answer }) => {
                    let until = self.clock.now() + wait;
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
        match self.transact(&batch, wanted).await {
            Ok(done) => self.answer(batch, done),
            Err(Failure::Statement(error)) if batch.len() + usize::from(wanted > 0) > 1 => {
                tracing::warn!(%error, jobs = batch.len(), "a transaction of several jobs failed; each is tried alone");
                self.process_singly(batch, wanted).await;
            }
            Err(Failure::Statement(error) | Failure::Transaction(error)) => self.fail(batch, wanted, error),
        }
    }

    /// One job after the other, until the database takes none any more: then nobody waits for the rest.
    async fn process_singly(&mut self, batch: Batch, wanted: usize) {
        let receive = std::iter::once((Batch::default(), wanted));
        let mut away = None;
        for (single, wanted) in batch.into_singles().map(|single| (single, 0)).chain(receive) {
            if let Some(error) = &away {
                self.fail_for(single, wanted, error);
                continue;
            }
            match self.transact(&single, wanted).await {
                Ok(done) => self.answer(single, done),
                Err(Failure::Statement(error)) => self.fail(single, wanted, error),
                Err(Failure::Transaction(error)) => {
                    let error = Arc::new(error);
                    self.fail_for(single, wanted, &error);
                    away = Some(error);
                }
            }
        }
    }

    /// Does a batch, if there is anything to do.
    async fn transact(&mut self, batch: &Batch, wanted: usize) -> Result<Done, Failure> {
        let now = self.clock.now();
        let look_at = batch.sends.iter().map(|send| send.due_at).chain(self.database.next_look()).min();
        let wanted = if look_at.is_some_and(|look_at| look_at <= now) { wanted } else { 0 };
        if batch.len() + wanted == 0 {
            return Ok(Done::default());
        }
        self.database.transact(batch, wanted, now).await
    }

    fn answer(&mut self, batch: Batch, done: Done) {
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
        let now = self.clock.now();
        for late in self.parked.extract_if(.., |parked| parked.until <= now) {
            late.answer.send(Ok(Vec::new())).ok();
        }
    }

    fn fail(&mut self, batch: Batch, wanted: usize, error: sqlx::Error) {
        tracing::error!(%error, "the database did not take a change");
        self.fail_for(batch, wanted, &Arc::new(error));
    }

    fn fail_for(&mut self, batch: Batch, wanted: usize, error: &Arc<sqlx::Error>) {
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

/// An error of the database as one of the store.
pub(crate) fn store_error(error: impl Into<Arc<sqlx::Error>>) -> StoreError {
    let error = error.into();
    match *error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            StoreError::Unreadable { what: "row".to_owned(), source: Box::new(error) }
        }
        _ => StoreError::Unavailable(Box::new(error)),
    }
}
