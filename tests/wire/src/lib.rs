//! Tables and queues of an AWS emulator that runs as a process of its own. `infra/aws-emulator.sh` starts one
//! and sets its address. `just wire` runs the tests with it. Without it they fail with a message that says
//! so.
#![allow(clippy::missing_panics_doc, reason = "a test without an emulator has failed")]

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
};
use aws_sdk_sqs::types::QueueAttributeName;
use bk_plugin_aws::Clients;
use bk_plugin_aws::dynamodb::DynamoDbTable;
use bk_plugin_aws::sqs::SqsQueue;
use bk_plugin_core::ids::TraceId;

/// The emulator.
#[derive(Debug, Clone)]
pub struct Emulator {
    clients: Clients,
}

impl Emulator {
    /// The emulator at `AWS_ENDPOINT_URL`.
    pub fn new() -> Self {
        assert!(
            std::env::var("AWS_ENDPOINT_URL")
                .is_ok_and(|url| url.contains("127.0.0.1") || url.contains("localhost")),
            "there is no emulator: AWS_ENDPOINT_URL is not an address of this machine. Run \
             `infra/aws-emulator.sh cargo nextest run --workspace --ignore-default-filter -E 'package(wire)'`"
        );
        Self {
            clients: Clients::new(&|name| std::env::var(name).ok()).expect("the emulator's script sets them"),
        }
    }

    /// Creates a new table.
    pub async fn table(&self) -> DynamoDbTable {
        let (client, name) = (self.clients.dynamodb(), format!("invocations-{}", TraceId::random()));
        let attribute = AttributeDefinition::builder()
            .attribute_name("trace_id")
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("it is whole");
        let key = KeySchemaElement::builder().attribute_name("trace_id").key_type(KeyType::Hash).build();
        client
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute)
            .key_schema(key.expect("it is whole"))
            .send()
            .await
            .expect("the emulator makes tables");
        loop {
            let described = client.describe_table().table_name(&name).send().await.expect("it is there");
            if described.table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
                return DynamoDbTable::new(client, name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Creates a new queue, and returns its URL.
    pub async fn queue(&self, visibility_timeout: Duration) -> String {
        let created = self
            .clients
            .sqs()
            .create_queue()
            .queue_name(format!("wake-ups-{}", TraceId::random()))
            .attributes(QueueAttributeName::VisibilityTimeout, visibility_timeout.as_secs().to_string())
            .send()
            .await
            .expect("the emulator makes queues");
        created.queue_url.expect("a queue has a URL")
    }

    /// The queue at a URL, as the framework uses it.
    pub fn open(&self, url: &str, longest_delay: Duration) -> SqsQueue {
        SqsQueue::new(self.clients.sqs(), url, longest_delay)
    }

    /// A new SQS client.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        self.clients.sqs()
    }
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}
