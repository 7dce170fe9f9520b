//! The suite notices faulty tables. Each is the table in memory with one fault.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_core::memory::{ManualClock, MemoryStore};
use bk_plugin_core::record::{Lease, Record};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use contract::concurrency::{judge, run};
use contract::sample::START;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Now and then a live lease is treated as expired.
    TwoLeases,
    /// Now and then a callback is accepted but not stored.
    LostAppend,
    /// Now and then an append adds a second callback.
    StrayAppend,
    /// Now and then a read shows the initial state: no record.
    StaleRead,
    /// Now and then a commit without the lease is reported as made.
    LostCommit,
    /// The result of a step is written in two separate writes.
    TornCommit,
}

struct Faulty {
    table: MemoryStore,
    fault: Fault,
    calls: AtomicU32,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        let table = MemoryStore::new(Arc::new(ManualClock::default()), Duration::from_secs(30));
        Self { table, fault, calls: AtomicU32::new(0) }
    }

    /// Whether to make the fault this time.
    fn shows(&self, fault: Fault) -> bool {
        self.fault == fault && self.calls.fetch_add(1, Ordering::Relaxed) % 10 == 9
    }
}

#[async_trait]
impl Table for Faulty {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        self.table.create(record, inbox_len).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let late = START + Duration::from_hours(1);
        let now = if self.shows(Fault::TwoLeases) { late } else { now };
        self.table.claim(trace_id, on, lease, now).await
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        if self.fault == Fault::TornCommit
            && let Some(record) = self.table.read(trace_id).await?
            && let Some(lease) = record.lease.clone().filter(|lease| lease.token == *token)
        {
            let state = Commit { storage: None, ..commit.clone() };
            let write = self.table.commit(trace_id, token, &state).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
            // The second write, unless another client got in between.
            let on = ClaimOn::Step(commit.invoke_count);
            if let Claim::Granted(_) = self.table.claim(trace_id, &on, &lease, START).await? {
                let rest = Commit { consume: false, inbox_len: None, ..commit.clone() };
                self.table.commit(trace_id, token, &rest).await?;
            }
            return Ok(write);
        }
        match self.table.commit(trace_id, token, commit).await? {
            Write::Refused(_) if self.shows(Fault::LostCommit) => Ok(Write::Applied),
            write => Ok(write),
        }
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        if self.shows(Fault::LostAppend) {
            return Ok(Write::Applied);
        }
        if self.shows(Fault::StrayAppend) {
            let mut stray = append.clone();
            stray.entry.receipt = Receipt::random();
            self.table.append(trace_id, &stray).await?;
        }
        self.table.append(trace_id, append).await
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        self.table.settle(trace_id).await
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let read = self.table.read(trace_id).await;
        if self.shows(Fault::StaleRead) {
            return Ok(None);
        }
        read
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.table.ping().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_makes_a_history_that_is_not_linearizable() {
    for fault in [
        Fault::TwoLeases,
        Fault::LostAppend,
        Fault::StrayAppend,
        Fault::StaleRead,
        Fault::LostCommit,
        Fault::TornCommit,
    ] {
        let mut caught = None;
        for seed in 0..20 {
            let (trace_id, history) = run(Arc::new(Faulty::new(fault)), seed).await;
            if let Err(told) = judge(trace_id, &history) {
                assert!(told.contains("no order"), "{told}");
                caught = Some(seed);
                break;
            }
        }
        assert!(caught.is_some(), "{fault:?}");
        println!("{fault:?}: caught by history {}", caught.unwrap() + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_fault_it_is() {
    let (trace_id, history) = run(Arc::new(Faulty::new(Fault::None)), 1).await;
    judge(trace_id, &history).unwrap();
}
