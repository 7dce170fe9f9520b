//! A store in a folder of its own, with a clock that the test moves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::table::{ClaimOn, Table};
use bk_plugin_sql::Store as _;
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};
use contract::sample::{START, applied, granted, lease, record};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::watch;

/// A clock that stands still until it is moved.
pub(crate) struct ManualClock {
    now: watch::Sender<Timestamp>,
    /// How often somebody asked for the time.
    pub(crate) asked: AtomicUsize,
}

impl ManualClock {
    pub(crate) fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = *now + duration);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut now = self.now.subscribe();
        let until = *now.borrow() + duration;
        now.wait_for(|now| *now >= until).await.unwrap();
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) options: SqliteOptions,
    pub(crate) folder: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock { now: watch::Sender::new(START), asked: AtomicUsize::new(0) });
        let options = SqliteOptions {
            visibility_timeout: Duration::from_secs(30),
            largest_record: 10_000,
            clock: clock.clone(),
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

    /// A connection to the file beside the store's.
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
