//! A store whose calls are timed and whose failures are counted.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::ids::{LeaseToken, TraceId};
use bk_plugin_kit::metrics::{store_called, store_failed};
use bk_plugin_kit::queue::{Delivery, Message, Queue};
use bk_plugin_kit::record::{Lease, Record};
use bk_plugin_kit::table::{Append, Claim, ClaimOn, Commit, StoreError, Table, Write};
use bk_plugin_sql::Store;

/// The ports of a store, measured.
pub(crate) struct Measured(pub(crate) Arc<dyn Store>);

async fn timed<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let begun = Instant::now();
    let answer = call.await;
    store_called(operation, begun.elapsed(), !is_unavailable(&answer));
    answer
}

/// What is too large, say, is the caller's trouble and not the store's.
fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

#[async_trait]
impl Table for Measured {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        timed("create", self.0.create(record, inbox_len)).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        timed("claim", self.0.claim(trace_id, on, lease, now)).await
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        timed("commit", self.0.commit(trace_id, token, commit)).await
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        timed("append", self.0.append(trace_id, append)).await
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        timed("settle", self.0.settle(trace_id)).await
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        timed("read", self.0.read(trace_id)).await
    }

    fn keeps_leases(&self) -> bool {
        self.0.keeps_leases()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        timed("ping", self.0.ping()).await
    }
}

#[async_trait]
impl Queue for Measured {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        timed("send", self.0.send(message, delay)).await
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError> {
        // Not timed: it waits for messages, not for the store.
        let received = self.0.receive(max, wait).await;
        if is_unavailable(&received) {
            store_failed("receive");
        }
        received
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        timed("delete", self.0.delete(handle)).await
    }

    fn longest_delay(&self) -> Duration {
        self.0.longest_delay()
    }
}
