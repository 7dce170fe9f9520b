//! The store in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::memory::{ManualClock, MemoryStore};
use bk_plugin_core::queue::Queue;
use bk_plugin_core::table::Table;
use contract::{QueueStore, TableStore};

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

struct Memory {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl Memory {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: Arc::new(MemoryStore::new(clock.clone(), VISIBILITY_TIMEOUT)), clock }
    }
}

#[async_trait]
impl TableStore for Memory {
    fn open() -> impl Future<Output = Self> {
        std::future::ready(Self::new())
    }

    fn table(&self) -> Arc<dyn Table> {
        self.store.clone()
    }

    fn largest_record(&self) -> usize {
        400 * 1024
    }
}

#[async_trait]
impl QueueStore for Memory {
    fn open() -> impl Future<Output = Self> {
        std::future::ready(Self::new())
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

contract::table_cases!(Memory);
contract::queue_cases!(Memory);
contract::group_cases!(Memory);
