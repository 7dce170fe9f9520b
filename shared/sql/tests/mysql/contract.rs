//! The contract of the ports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::queue::Queue;
use bk_plugin_core::table::Table;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::mysql::MysqlOptions;
use contract::{QueueStore, TableStore};

use crate::fixture::Fixture;

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);
const LARGEST_RECORD: usize = 10_000;

/// A store with a clock that the case moves.
struct Mysql {
    fixture: Fixture,
    clock: Arc<ManualClock>,
}

impl Mysql {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let options = MysqlOptions {
            visibility_timeout: VISIBILITY_TIMEOUT,
            largest_record: LARGEST_RECORD,
            clock: Some(clock.clone()),
            ..MysqlOptions::default()
        };
        Self { fixture: Fixture::with(&[], options).await, clock }
    }
}

#[async_trait]
impl TableStore for Mysql {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn table(&self) -> Arc<dyn Table> {
        self.fixture.store.clone()
    }

    fn largest_record(&self) -> usize {
        LARGEST_RECORD
    }

    async fn delete_expired(&self, now: Timestamp) -> bool {
        while self.fixture.store.delete_expired(now, 100).await.unwrap() > 0 {}
        true
    }
}

#[async_trait]
impl QueueStore for Mysql {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn queue(&self) -> Arc<dyn Queue> {
        self.fixture.store.clone()
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
contract::group_cases!(Mysql);
