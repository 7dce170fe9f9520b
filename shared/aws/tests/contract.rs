//! The DynamoDB table and the SQS queue, on emulators in this process.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_aws::Clients;
use bk_plugin_aws::dynamodb::{DynamoDbTable, LARGEST_ITEM};
use bk_plugin_aws::sqs::{LONGEST_DELAY, SqsQueue};
use bk_plugin_core::clock::{Clock as _, Timestamp};
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::queue::Queue;
use bk_plugin_core::table::Table;
use contract::{QueueStore, TableStore};
use local_aws::{LocalAws, QueueOptions};

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

struct InProcess {
    aws: LocalAws,
    clock: Arc<ManualClock>,
    clients: Clients,
    queue_url: String,
}

impl InProcess {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let aws = LocalAws::start(clock.clone()).await;
        aws.create_table("invocations");
        let options = QueueOptions { visibility_timeout: VISIBILITY_TIMEOUT, ..QueueOptions::default() };
        let queue_url = aws.create_queue("wake-ups", options);
        let clients = Clients::new(&|name| match name {
            "AWS_ENDPOINT_URL" => Some(aws.endpoint().to_owned()),
            "AWS_REGION" => Some("us-east-1".to_owned()),
            "AWS_SESSION_TOKEN" => None,
            _ => Some("test".to_owned()),
        });
        Self { clients: clients.unwrap(), aws, clock, queue_url }
    }
}

#[async_trait]
impl TableStore for InProcess {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn table(&self) -> Arc<dyn Table> {
        Arc::new(DynamoDbTable::new(self.clients.dynamodb(), "invocations"))
    }

    fn largest_record(&self) -> usize {
        LARGEST_ITEM
    }

    /// That would be one more request for each callback.
    fn tells_groups(&self) -> bool {
        false
    }

    async fn delete_expired(&self, now: Timestamp) -> bool {
        self.clock.advance(now.since(self.clock.now()));
        self.aws.sweep_expired();
        true
    }
}

#[async_trait]
impl QueueStore for InProcess {
    fn open() -> impl Future<Output = Self> {
        Self::new()
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(SqsQueue::new(self.clients.sqs(), &self.queue_url, LONGEST_DELAY))
    }

    async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    fn visibility_timeout(&self) -> Duration {
        VISIBILITY_TIMEOUT
    }
}

contract::table_cases!(InProcess);
contract::queue_cases!(InProcess);
