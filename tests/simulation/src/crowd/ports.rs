//! The store as a process of a crowd sees it: from the moment of its death no call returns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::memory::MemoryStore;
use bk_plugin_core::queue::{Delivery, Message, Queue, Receive, WakeUp};
use bk_plugin_core::record::{Lease, Record};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use bk_plugin_engine::Limits;
use tokio::time::{Instant, sleep};

use super::locked;
use super::process::Process;
use crate::mutation::Mutation;

/// The runtime's time, which is paused.
pub(super) struct TokioClock(Instant);

impl Default for TokioClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }
}

/// The longest time before and after a call of the store, in milliseconds.
const LATENCY: u64 = 5;

pub(super) struct Ports {
    process: Weak<Process>,
    store: Arc<MemoryStore>,
    /// The latest token of each wake-up received here that is only run alone.
    tokens: Mutex<BTreeMap<TraceId, LeaseToken>>,
}

impl Ports {
    pub(super) fn new(process: &Arc<Process>) -> Self {
        let store = Arc::clone(&process.crowd.store);
        Self { process: Arc::downgrade(process), store, tokens: Mutex::default() }
    }

    /// Makes a call, before or after which the process may die.
    async fn call<T>(&self, call: impl Future<Output = T> + Send) -> T {
        self.pause().await;
        let answer = call.await;
        self.pause().await;
        answer
    }

    async fn pause(&self) {
        let Some(process) = self.process.upgrade() else { return std::future::pending().await };
        process.goes_on().await;
        sleep(process.crowd.time(LATENCY)).await;
        process.goes_on().await;
    }

    fn is_mutated(&self, mutation: Mutation) -> bool {
        self.process.upgrade().is_some_and(|process| process.crowd.mutation == Some(mutation))
    }
}

#[async_trait]
impl Table for Ports {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        self.call(self.store.create(record, inbox_len)).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        self.call(self.store.claim(trace_id, on, lease, now)).await
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        self.call(self.store.commit(trace_id, token, commit)).await
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        self.call(self.store.append(trace_id, append)).await
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        self.call(self.store.settle(trace_id)).await
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let mut record = self.call(self.store.read(trace_id)).await?;
        if let Some(record) = &mut record {
            if self.is_mutated(Mutation::LeaseForgotten) {
                record.lease = None;
            }
            if self.is_mutated(Mutation::ReceiptProves) {
                let token = locked(&self.tokens).get(trace_id).cloned();
                record.lease = token.map(|token| Lease { token, until: Timestamp::from_millis(0) });
            }
        }
        Ok(record)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.call(self.store.ping()).await
    }
}

#[async_trait]
impl Queue for Ports {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let message = match message {
            Message::WakeUp(wake_up @ WakeUp { alone: Some(_), .. })
                if self.is_mutated(Mutation::EveryCrashCounts) =>
            {
                let crashes = wake_up.crashes.max(Limits::default().max_receive_count - 1);
                Message::WakeUp(WakeUp { crashes, ..wake_up.clone() })
            }
            message => message.clone(),
        };
        self.call(self.store.send(&message, delay)).await
    }

    async fn receive_selected(&self, receive: Receive<'_>) -> Result<Vec<Delivery>, StoreError> {
        self.pause().await;
        let received = self.store.receive_selected(receive);
        // A process that died while it waited has received nothing.
        let mut received = Box::pin(received);
        let deliveries = std::future::poll_fn(|cx| match self.process.upgrade() {
            Some(process) if !process.is_dead() => received.as_mut().poll(cx),
            _ => std::task::Poll::Pending,
        });
        let deliveries = deliveries.await?;
        for delivery in &deliveries {
            if let Message::WakeUp(WakeUp { trace_id, alone: Some(token), .. }) = &delivery.message {
                locked(&self.tokens).insert(trace_id.clone(), token.clone());
            }
        }
        self.pause().await;
        Ok(deliveries)
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        self.call(self.store.delete(handle)).await
    }

    fn longest_delay(&self) -> Duration {
        self.store.longest_delay()
    }
}
