//! A store whose calls are timed and whose outages are counted.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Delivery, Message, Queue, Receive};
use bk_plugin_core::record::{Lease, Record};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};

use crate::metrics::{store_called, store_failed};

/// Times each call of a store's two ports ([`metrics::STORE_TIME`](crate::metrics::STORE_TIME)) and counts each call that
/// the store did not answer. Every host puts it around its store.
pub struct MeteredStore {
    table: Arc<dyn Table>,
    queue: Arc<dyn Queue>,
}

impl MeteredStore {
    /// Meters the calls of this table and this queue.
    pub fn new(table: Arc<dyn Table>, queue: Arc<dyn Queue>) -> Self {
        Self { table, queue }
    }
}

async fn timed<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let begun = Instant::now();
    let answer = call.await;
    store_called(operation, begun.elapsed(), !is_unavailable(&answer));
    answer
}

/// Any other error, such as a record that is too large, is not the store's failure.
fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

#[async_trait]
impl Table for MeteredStore {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        timed("create", self.table.create(record, inbox_len)).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        timed("claim", self.table.claim(trace_id, on, lease, now)).await
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        timed("commit", self.table.commit(trace_id, token, commit)).await
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        timed("append", self.table.append(trace_id, append)).await
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        timed("settle", self.table.settle(trace_id)).await
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        timed("read", self.table.read(trace_id)).await
    }

    async fn group_of(&self, trace_id: &TraceId) -> Option<MessageGroup> {
        self.table.group_of(trace_id).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        timed("ping", self.table.ping()).await
    }
}

#[async_trait]
impl Queue for MeteredStore {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        timed("send", self.queue.send(message, delay)).await
    }

    async fn receive_selected(&self, receive: Receive<'_>) -> Result<Vec<Delivery>, StoreError> {
        // Not timed: it waits for messages, not for the store.
        let received = self.queue.receive_selected(receive).await;
        if is_unavailable(&received) {
            store_failed("receive");
        }
        received
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        timed("delete", self.queue.delete(handle)).await
    }

    fn longest_delay(&self) -> Duration {
        self.queue.longest_delay()
    }
}
