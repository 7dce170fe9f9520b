//! A store in a folder of its own, with a clock that the test moves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::table::{ClaimOn, Table};
use bk_plugin_sql::Store as _;
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};
use contract::sample::{START, applied, granted, lease, record};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

/// A manual clock that counts how often it is read.
#[derive(Default)]
pub(crate) struct CountingClock {
    clock: ManualClock,
    pub(crate) reads: AtomicUsize,
}

impl CountingClock {
    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

#[async_trait]
impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<CountingClock>,
    pub(crate) options: SqliteOptions,
    pub(crate) folder: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(CountingClock::default());
        let options = SqliteOptions {
            visibility_timeout: Duration::from_secs(30),
            largest_record: 10_000,
            clock: Some(clock.clone()),
            ..SqliteOptions::default()
        };
        let store = Arc::new(SqliteStore::open(folder.path().join("a.db"), options.clone()).await.unwrap());
        Self { store, clock, options, folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    /// Closes the store and opens the same file again.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.open().await;
    }

    pub(crate) async fn open(&mut self) {
        self.store = Arc::new(SqliteStore::open(self.path(), self.options.clone()).await.unwrap());
    }

    /// A connection to the file besides the store's.
    pub(crate) async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect(self.path().to_str().unwrap()).await.unwrap()
    }

    /// A record in POLL or CALLBACK with one committed step.
    pub(crate) async fn invocation(&self, state: State) -> Record {
        let record = record(state);
        applied(self.store.create(&record, None).await.unwrap());
        record
    }

    pub(crate) async fn read(&self, trace_id: &TraceId) -> Record {
        *self.store.read(trace_id).await.unwrap().expect("there is a record")
    }

    /// A lease of one minute, granted after one committed step.
    pub(crate) async fn leased(&self, trace_id: &TraceId) -> Lease {
        let lease = lease();
        granted(self.store.claim(trace_id, &ClaimOn::Step(1), &lease, START).await.unwrap());
        lease
    }
}
