//! The contract of `Table` and `Queue` over the wire.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_aws::dynamodb::{DynamoDbTable, LARGEST_ITEM};
use bk_plugin_core::queue::Queue;
use bk_plugin_core::table::Table;
use contract::{QueueStore, TableStore};
use wire::Emulator;

/// Longer than the delays that the cases wait for, and longer than the case that receives a hundred messages
/// one by one. The emulator uses the machine's clock, so every wait takes real time.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(15);

struct OverTheWire {
    emulator: Emulator,
    table: DynamoDbTable,
    queue_url: String,
}

impl OverTheWire {
    async fn new() -> Self {
        let emulator = Emulator::new();
        Self { table: emulator.table().await, queue_url: emulator.queue(VISIBILITY_TIMEOUT).await, emulator }
    }
}

#[async_trait]
impl TableStore for OverTheWire {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn table(&self) -> Arc<dyn Table> {
        Arc::new(self.table.clone())
    }

    fn largest_record(&self) -> usize {
        LARGEST_ITEM
    }

    /// That would be one more request for each callback.
    fn tells_groups(&self) -> bool {
        false
    }
}

#[async_trait]
impl QueueStore for OverTheWire {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.emulator.open(&self.queue_url, Duration::from_secs(6)))
    }

    async fn advance(&self, duration: Duration) {
        // A little longer, because the emulator reads its clock only when it handles a request.
        tokio::time::sleep(duration + Duration::from_millis(300)).await;
    }

    fn visibility_timeout(&self) -> Duration {
        VISIBILITY_TIMEOUT
    }

    fn is_strict(&self) -> bool {
        false
    }

    fn longest_advance(&self) -> Duration {
        Duration::from_secs(10)
    }
}

contract::table_cases!(OverTheWire);
contract::queue_cases!(OverTheWire);
