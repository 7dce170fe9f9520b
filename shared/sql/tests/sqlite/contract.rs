//! The contract of the ports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Queue;
use bk_plugin_core::table::Table;
use bk_plugin_sql::Store as _;
use contract::{QueueStore, TableStore};

use crate::fixture::Fixture;

#[async_trait]
impl TableStore for Fixture {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn table(&self) -> Arc<dyn Table> {
        self.store.clone()
    }

    fn largest_record(&self) -> usize {
        self.options.largest_record
    }

    async fn delete_expired(&self, now: Timestamp) -> bool {
        while self.store.delete_expired(now, 100).await.unwrap() > 0 {}
        true
    }
}

#[async_trait]
impl QueueStore for Fixture {
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
        self.options.visibility_timeout
    }
}

contract::table_cases!(Fixture);
contract::queue_cases!(Fixture);
contract::group_cases!(Fixture);
