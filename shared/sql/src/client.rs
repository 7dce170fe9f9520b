//! The ports `Table` and `Queue` as far as a writer keeps them: each call is a job, and waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_kit::clock::{Clock, Timestamp};
use bk_plugin_kit::ids::{LeaseToken, TraceId};
use bk_plugin_kit::queue::{Delivery, Message};
use bk_plugin_kit::record::{Lease, Record};
use bk_plugin_kit::table::{Append, Claim, ClaimOn, Commit, StoreError, Write};
use tokio::sync::{mpsc, oneshot};

use crate::request::{Answer, Bury, Delete, Expire, Handle, Job, MessageRow, Receive, Send};
use crate::rows::{NewEntry, NewRecord, NewStep, StoredRecord, text};
use crate::transaction::{Change, ChangeKind};

/// Messages taken by one receive at most, whatever is asked for.
const MOST_RECEIVED: usize = 1024;

/// No wait is longer: the numbers of milliseconds stay far from the end of what a column holds.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_hours(365 * 24);

/// Asks a writer.
pub(crate) struct Client {
    jobs: mpsc::Sender<Job>,
    clock: Arc<dyn Clock>,
}

impl Client {
    pub(crate) fn new(jobs: mpsc::Sender<Job>, clock: Arc<dyn Clock>) -> Self {
        Self { jobs, clock }
    }

    /// Hands a job to the writer and waits until it is in the database.
    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.jobs.is_closed()
    }

    pub(crate) async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(answer)).await.is_ok() {
            // No answer means that it was closed already.
            closed.await.ok();
        }
    }

    pub(crate) async fn create(
        &self,
        record: &Record,
        inbox_len: Option<usize>,
    ) -> Result<Write, StoreError> {
        let new = Box::new(NewRecord::of(record)?);
        self.write(&record.trace_id, ChangeKind::Create { new, inbox_len }).await
    }

    pub(crate) async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let kind = ChangeKind::Claim { on: on.clone(), lease: lease.clone(), now };
        let (applied, record) = self.change(trace_id, kind).await?;
        match record {
            // By the end of the transaction another claim may have found this lease expired.
            Some(record) if applied => {
                Ok(Claim::Granted(Box::new(Record { lease: Some(lease.clone()), ..*record })))
            }
            record => Ok(Claim::Refused(record)),
        }
    }

    pub(crate) async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        let new = Box::new(NewStep::of(commit)?);
        self.write(trace_id, ChangeKind::Commit { token: token.clone(), new }).await
    }

    pub(crate) async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        self.write(trace_id, ChangeKind::Append(NewEntry::of(append)?)).await
    }

    pub(crate) async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        self.write(trace_id, ChangeKind::Settle).await.map(drop)
    }

    async fn write(&self, trace_id: &TraceId, kind: ChangeKind) -> Result<Write, StoreError> {
        let (applied, record) = self.change(trace_id, kind).await?;
        Ok(if applied { Write::Applied } else { Write::Refused(record) })
    }

    async fn change(
        &self,
        trace_id: &TraceId,
        kind: ChangeKind,
    ) -> Result<(bool, Option<Box<Record>>), StoreError> {
        let trace_id = trace_id.clone();
        let answer = self.ask(|answer| Job::Change(Change { trace_id, kind, answer })).await?;
        Ok((answer.applied, answer.record.map(StoredRecord::decode).transpose()?))
    }

    pub(crate) async fn delete_expired(&self, now: Timestamp, at_most: u32) -> Result<u64, StoreError> {
        self.ask(|answer| Job::Expire(Expire { now, at_most, answer })).await
    }

    pub(crate) async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let body = text(message)?;
        let due_at = self.clock.now() + delay;
        self.ask(|answer| Job::Send(Send { body, due_at, answer })).await
    }

    pub(crate) async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let until = self.clock.now() + wait;
        let mut wait = wait;
        loop {
            let max = max.min(MOST_RECEIVED);
            let rows = self.ask(|answer| Job::Receive(Receive { max, wait, answer })).await?;
            let nothing_came = rows.is_empty();
            let deliveries = self.deliver(rows).await;
            if nothing_came || !deliveries.is_empty() {
                return Ok(deliveries);
            }
            wait = until.since(self.clock.now());
        }
    }

    /// Reads the messages. One that cannot be read would come back for ever: it is put aside.
    async fn deliver(&self, rows: Vec<MessageRow>) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in rows {
            let handle = Handle { id: row.id, receive_count: row.receive_count };
            match serde_json::from_str(&row.body) {
                Ok(message) => deliveries.push(Delivery {
                    message,
                    handle: handle.to_text(),
                    receive_count: u32::try_from(row.receive_count).unwrap_or(u32::MAX),
                }),
                Err(error) => self.put_aside(handle, &error).await,
            }
        }
        deliveries
    }

    async fn put_aside(&self, handle: Handle, error: &serde_json::Error) {
        tracing::error!(
            message_id = handle.id,
            %error,
            "a message of the queue cannot be read; it is moved to the table of dead letters"
        );
        let reason = error.to_string();
        let buried = self.ask(|answer| Job::Bury(Bury { handle, reason, answer })).await;
        if let Err(error) = buried {
            // It will be received again, and then put aside. The good messages beside it must not wait.
            tracing::error!(message_id = handle.id, %error, "the message could not be moved");
        }
    }

    pub(crate) async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        // A handle of another kind names no message here, which is the same as one that is gone.
        let Some(handle) = Handle::parse(handle) else { return Ok(()) };
        self.ask(|answer| Job::Delete(Delete { handle, answer })).await
    }
}

/// The error of whoever asks a store that was closed.
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("the database is closed".into())
}
