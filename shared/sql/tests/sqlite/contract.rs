//! Table and queue in a SQLite file.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::queue::Queue;
use bk_plugin_kit::table::Table;
use bk_plugin_kit::testing::ManualClock;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};
use contract::{QueueStore, TableStore};
use tempfile::TempDir;

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);
const LARGEST_RECORD: usize = 10_000;

struct Sqlite {
    store: Arc<SqliteStore>,
    clock: Arc<ManualClock>,
    /// Deleted after the case.
    _folder: TempDir,
}

impl Sqlite {
    async fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::default()));
        let options = SqliteOptions {
            visibility_timeout: VISIBILITY_TIMEOUT,
            largest_record: LARGEST_RECORD,
            clock: clock.clone(),
            ..SqliteOptions::default()
        };
        let store = Arc::new(SqliteStore::open(folder.path().join("a.db"), options).await.unwrap());
        Self { store, clock, _folder: folder }
    }
}

#[async_trait]
impl TableStore for Sqlite {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn table(&self) -> Arc<dyn Table> {
        self.store.clone()
    }

    fn largest_record(&self) -> usize {
        LARGEST_RECORD
    }

    async fn delete_expired(&self, now: Timestamp) -> bool {
        while self.store.delete_expired(now, 100).await.unwrap() > 0 {}
        true
    }
}

#[async_trait]
impl QueueStore for Sqlite {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn queue(&self) -> Arc<dyn Queue> {
        self.store.clone()
    }

    async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    fn visibility_timeout(&self) -> Duration {
        VISIBILITY_TIMEOUT
    }
}

contract::table_cases!(Sqlite);
contract::queue_cases!(Sqlite);
