//! Table and queue in a MariaDB database.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::queue::Queue;
use bk_plugin_kit::table::Table;
use bk_plugin_kit::testing::ManualClock;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::mysql::{MysqlOptions, MysqlStore};
use contract::{QueueStore, TableStore};
use local_mysql::MariaDb;

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);
const LARGEST_RECORD: usize = 10_000;

struct Mysql {
    store: Arc<MysqlStore>,
    clock: Arc<ManualClock>,
    /// Gone after the case.
    _server: MariaDb,
}

impl Mysql {
    async fn new() -> Self {
        let (server, clock) = (MariaDb::start().await, Arc::new(ManualClock::default()));
        let options = MysqlOptions {
            visibility_timeout: VISIBILITY_TIMEOUT,
            largest_record: LARGEST_RECORD,
            clock: clock.clone(),
            ..MysqlOptions::default()
        };
        let store = Arc::new(MysqlStore::open(&server.address(), options).await.unwrap());
        Self { store, clock, _server: server }
    }
}

#[async_trait]
impl TableStore for Mysql {
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
impl QueueStore for Mysql {
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

contract::table_cases!(Mysql);
contract::queue_cases!(Mysql);
