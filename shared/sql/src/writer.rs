//! The task that makes every change of a store.
//!
//! It takes the requests that wait, has the database make them in one transaction, and replies when that is
//! committed: many callers share one flush.

use std::sync::Arc;

use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::queue::Selection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
use crate::database::{Batch, Database, Done, Failure, MOST_REQUESTS, Wanted};
use crate::message::MessageRow;
use crate::reply::Reply;
use crate::request::{ReceiveMessages, ReceiverId, Request};
use crate::store_error::store_error;

/// Bytes that fill a transaction: no further request is taken then.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// A receiver that waits for a message.
struct Parked {
    id: ReceiverId,
    max: usize,
    selection: Selection,
    until: Timestamp,
    reply: Reply<Vec<MessageRow>>,
}

/// The task, and the database it owns.
pub(crate) struct Writer<D> {
    database: D,
    requests: mpsc::Receiver<Request>,
    clock: Arc<dyn Clock>,
    parked: Vec<Parked>,
    closing: Vec<oneshot::Sender<()>>,
}

impl<D: Database> Writer<D> {
    /// Starts the task. It ends when the store is closed, or when its last client is gone.
    pub(crate) fn start(database: D, clock: Arc<dyn Clock>) -> Client {
        let (client, requests) = mpsc::channel(2 * MOST_REQUESTS);
        let writer = Self { database, requests, clock, parked: Vec::new(), closing: Vec::new() };
        tokio::spawn(writer.run());
        Client::new(client)
    }

    async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MOST_REQUESTS);
        while !waiting.is_empty() || self.wait(&mut waiting).await {
            let batch = self.sort(&mut waiting);
            self.process(batch).await;
            self.answer_late_receivers();
        }
        self.parked.drain(..).for_each(|parked| drop(parked.reply.send(Ok(Vec::new()))));
        self.database.close().await;
        for closed in self.closing {
            closed.send(()).ok();
        }
    }

    /// Waits for requests, or for the time at which a parked receiver has to be answered. Returns whether more
    /// requests may come.
    async fn wait(&mut self, waiting: &mut Vec<Request>) -> bool {
        let Some(wake_at) = self.wake_at() else {
            return self.requests.recv_many(waiting, MOST_REQUESTS).await > 0;
        };
        let pause = wake_at.since(self.clock.now());
        if pause.is_zero() {
            return self.take_waiting(waiting);
        }
        tokio::select! {
            biased;
            count = self.requests.recv_many(waiting, MOST_REQUESTS) => count > 0,
            () = self.clock.sleep(pause) => true,
        }
    }

    /// Takes the requests that wait. Returns whether more may come.
    fn take_waiting(&mut self, waiting: &mut Vec<Request>) -> bool {
        while waiting.len() < MOST_REQUESTS {
            match self.requests.try_recv() {
                Ok(request) => waiting.push(request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return !waiting.is_empty(),
            }
        }
        true
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let looks = self.parked.iter().filter_map(|parked| self.database.next_look(&parked.selection));
        self.parked.iter().map(|parked| parked.until).chain(looks).min()
    }

    /// Takes the requests for one transaction.
    fn sort(&mut self, waiting: &mut Vec<Request>) -> Batch {
        let mut bytes = 0;
        let enough = waiting.iter().position(|request| {
            bytes += request.size();
            bytes >= MOST_BYTES
        });
        let mut batch = Batch::default();
        for request in waiting.drain(..enough.map_or(waiting.len(), |last| last + 1)) {
            match request {
                Request::Change(change) => batch.changes.push(change),
                Request::Send(send) => batch.sends.push(send),
                Request::Delete(delete) => batch.deletes.push(delete),
                Request::MoveToDeadLetters(dead_letter) => batch.dead_letters.push(dead_letter),
                Request::DeleteExpired(expiry) => batch.expiries.push(expiry),
                Request::Ping(reply) => batch.pings.push(reply),
                Request::Receive(ReceiveMessages { id, max, selection, wait, reply }) => {
                    let until = self.clock.now() + wait;
                    self.parked.push(Parked { id, max, selection, until, reply });
                }
                Request::EndWait(id) => self.answer_with_nothing(|parked| parked.id == id),
                Request::Close(closed) => {
                    // The requests that are in the channel are still made.
                    self.requests.close();
                    self.closing.push(closed);
                }
            }
        }
        batch
    }

    async fn process(&mut self, batch: Batch) {
        // No message is hidden for a receiver that has gone.
        self.parked.retain(|parked| !parked.reply.is_closed());
        let wanted = self.wanted(&batch);
        match self.transact(&batch, &wanted).await {
            Ok(done) => self.reply(batch, &wanted, done),
            Err(Failure::Statement(error)) if batch.len() + wanted.len() > 1 => {
                tracing::warn!(%error, jobs = batch.len(), "a transaction of several jobs failed; each is tried alone");
                self.process_singly(batch, wanted).await;
            }
            Err(Failure::Statement(error) | Failure::Transaction(error)) => self.fail(batch, &wanted, error),
        }
    }

    /// Makes one request after the other. Once the database accepts no transaction, the rest fails at once, so
    /// that its callers do not wait in vain.
    async fn process_singly(&mut self, batch: Batch, wanted: Vec<Wanted>) {
        let receives = wanted.into_iter().map(|wanted| (Batch::default(), vec![wanted]));
        let mut away = None;
        for (single, wanted) in batch.into_singles().map(|single| (single, Vec::new())).chain(receives) {
            if let Some(error) = &away {
                self.fail_for(single, &wanted, error);
                continue;
            }
            match self.transact(&single, &wanted).await {
                Ok(done) => self.reply(single, &wanted, done),
                Err(Failure::Statement(error)) => self.fail(single, &wanted, error),
                Err(Failure::Transaction(error)) => {
                    let error = Arc::new(error);
                    self.fail_for(single, &wanted, &error);
                    away = Some(error);
                }
            }
        }
    }

    /// Makes a batch in one transaction, if there is anything to do.
    async fn transact(&mut self, batch: &Batch, wanted: &[Wanted]) -> Result<Done, Failure> {
        if batch.len() + wanted.len() == 0 {
            return Ok(Done::default());
        }
        self.database.transact(batch, wanted, self.clock.now()).await
    }

    /// What the parked receivers wait for, as far as a look for it is worthwhile now.
    fn wanted(&self, batch: &Batch) -> Vec<Wanted> {
        let mut wanted = Vec::<Wanted>::new();
        for Parked { selection, max, .. } in &self.parked {
            match wanted.iter_mut().find(|wanted| wanted.selection == *selection) {
                Some(same) => same.count += max,
                None => wanted.push(Wanted { selection: selection.clone(), count: *max }),
            }
        }
        let now = self.clock.now();
        wanted.retain(|Wanted { selection, .. }| {
            let sent = batch.sends.iter().filter(|send| send.is_in(selection)).map(|send| send.due_at);
            sent.chain(self.database.next_look(selection)).any(|look_at| look_at <= now)
        });
        wanted
    }

    fn reply(&mut self, mut batch: Batch, wanted: &[Wanted], done: Done) {
        for (wanted, received) in wanted.iter().zip(done.received) {
            self.hand_out(&wanted.selection, received);
        }
        // A caller that has stopped waiting is no error.
        for (change, answer) in batch.changes.drain(..).zip(done.changes) {
            change.reply.send(answer).ok();
        }
        for (expiry, count) in batch.expiries.drain(..).zip(done.expired) {
            expiry.reply.send(Ok(count)).ok();
        }
        batch.acknowledged().for_each(|reply| drop(reply.send(Ok(()))));
    }

    /// Gives messages to the receivers that are parked for them, first come, first served.
    fn hand_out(&mut self, selection: &Selection, received: Vec<MessageRow>) {
        let mut received = received.into_iter().peekable();
        while received.peek().is_some()
            && let Some(first) = self.parked.iter().position(|parked| parked.selection == *selection)
        {
            let parked = self.parked.remove(first);
            parked.reply.send(Ok(received.by_ref().take(parked.max).collect())).ok();
        }
    }

    fn answer_late_receivers(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let now = self.clock.now();
        self.answer_with_nothing(|parked| parked.until <= now);
    }

    fn answer_with_nothing(&mut self, whom: impl Fn(&Parked) -> bool) {
        for parked in self.parked.extract_if(.., |parked| whom(parked)) {
            parked.reply.send(Ok(Vec::new())).ok();
        }
    }

    fn fail(&mut self, batch: Batch, wanted: &[Wanted], error: sqlx::Error) {
        tracing::error!(%error, "the database did not take a change");
        self.fail_for(batch, wanted, &Arc::new(error));
    }

    fn fail_for(&mut self, mut batch: Batch, wanted: &[Wanted], error: &Arc<sqlx::Error>) {
        let failed = || store_error(error.clone());
        let was_wanted =
            |parked: &mut Parked| wanted.iter().any(|wanted| wanted.selection == parked.selection);
        for parked in self.parked.extract_if(.., was_wanted) {
            parked.reply.send(Err(failed())).ok();
        }
        batch.changes.drain(..).for_each(|change| drop(change.reply.send(Err(failed()))));
        batch.expiries.drain(..).for_each(|expiry| drop(expiry.reply.send(Err(failed()))));
        batch.acknowledged().for_each(|reply| drop(reply.send(Err(failed()))));
    }
}
