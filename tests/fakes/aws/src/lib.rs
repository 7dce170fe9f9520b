//! DynamoDB and SQS in the process of a test, for the real clients of the AWS SDK to talk to.
//!
//! [`LocalAws`] serves both on one port of the loopback, with the test's clock: this clock alone decides what
//! is due, visible or expired. It counts requests, fails them on demand, and shows the contents of its tables
//! and queues. [`EventSourceMapping`] is the part of Lambda between a queue and a function.
//!
//! DynamoDB is `dynoxide`. SQS is a fake in this crate, which is as strict as SQS and promises no more: a
//! test can have messages delivered twice ([`LocalAws::deliver_twice`]), and chooses whether an old receipt
//! handle deletes a message ([`QueueOptions::old_handles_delete`]). Signatures are not checked.
//!
//! ```
//! use std::sync::Arc;
//! use bk_plugin_core::memory::ManualClock;
//! use local_aws::{LocalAws, QueueOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let clock = Arc::new(ManualClock::default());
//! let aws = LocalAws::start(clock.clone()).await;
//! aws.create_table("invocations");
//! let queue_url = aws.create_queue("wake-ups", QueueOptions::default());
//! // ... clients with `endpoint_url(aws.endpoint())` ...
//! assert!(aws.requests().is_empty());
//! # assert!(queue_url.starts_with(aws.endpoint()));
//! # }
//! ```
#![allow(clippy::unwrap_used, reason = "what does not work here fails the test that called it")]
#![allow(clippy::missing_panics_doc, reason = "so does the name of a table or queue that does not exist")]

mod dynamodb;
mod event_source_mapping;
mod faults;
mod server;
mod sqs;

use std::collections::BTreeMap;
use std::sync::Arc;

use bk_plugin_core::clock::Clock;
use serde_json::Value;

pub use crate::event_source_mapping::EventSourceMapping;
pub use crate::faults::Fault;
pub use crate::sqs::{ACCOUNT, QueueOptions, REGION, StoredMessage};

use crate::dynamodb::DynamoDb;
use crate::server::Server;
use crate::sqs::Sqs;

/// DynamoDB and SQS at one endpoint. Dropping it stops both.
pub struct LocalAws {
    endpoint: String,
    server: Arc<Server>,
    task: tokio::task::AbortHandle,
}

impl LocalAws {
    /// Starts both, empty, on a free port.
    pub async fn start(clock: Arc<dyn Clock>) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let dynamodb = DynamoDb::start(Arc::clone(&clock)).await;
        let server = Arc::new(Server::new(dynamodb, Sqs::new(clock, endpoint.clone())));
        let task = tokio::spawn(server::serve(listener, Arc::clone(&server))).abort_handle();
        Self { endpoint, server, task }
    }

    /// The URL of both services.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Creates a table with the key `trace_id`, whose items expire by `expires_at`.
    pub fn create_table(&self, name: &str) {
        self.server.dynamodb.create_table(name);
    }

    /// All items of a table, as JSON with DynamoDB's types (`{"trace_id": {"S": "..."}}`).
    pub fn items(&self, table: &str) -> Vec<Value> {
        self.server.dynamodb.items(table)
    }

    /// Deletes the items that have expired, which DynamoDB does some days later. Returns their number.
    pub fn sweep_expired(&self) -> usize {
        self.server.dynamodb.sweep_expired()
    }

    /// Creates a standard queue and returns its URL. The dead-letter queue of [`QueueOptions::redrive`] must
    /// exist.
    pub fn create_queue(&self, name: &str, options: QueueOptions) -> String {
        self.server.sqs.create_queue_with(name, options)
    }

    /// The ARN of a queue.
    pub fn queue_arn(&self, name: &str) -> String {
        sqs::arn(name)
    }

    /// All messages in a queue, whether they can be received or not, in the order in which they were sent.
    pub fn messages(&self, queue: &str) -> Vec<StoredMessage> {
        self.server.sqs.messages(queue)
    }

    /// The next `deliveries` messages that the queue delivers are delivered a second time, even if they are
    /// deleted in between.
    pub fn deliver_twice(&self, queue: &str, deliveries: usize) {
        self.server.sqs.deliver_twice(queue, deliveries);
    }

    /// Lambda's poller for a queue, which passes up to `batch_size` messages at a time to a function.
    pub fn event_source_mapping(&self, queue: &str, batch_size: usize) -> EventSourceMapping {
        assert!(batch_size > 0);
        EventSourceMapping::new(Arc::clone(&self.server.sqs), queue, batch_size)
    }

    /// The number of requests by operation (`DynamoDB.UpdateItem`, `SQS.SendMessage`). It includes requests
    /// that failed on demand, but not the work of this type's own methods.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        self.server.requests()
    }

    /// The number of requests by operation, as [`Self::requests`]; resets the counts.
    pub fn take_requests(&self) -> BTreeMap<String, usize> {
        self.server.take_requests()
    }

    /// Fails the next `times` requests of an operation (`SQS.SendMessage`) or of a service (`DynamoDB`).
    /// Several faults for one operation are made one after another.
    pub fn fail_next(&self, operation: &str, fault: Fault, times: usize) {
        self.server.faults.plan(operation, fault, times);
    }

    /// Cancels the faults that have not been made yet.
    pub fn heal(&self) {
        self.server.faults.forget();
    }
}

impl Drop for LocalAws {
    fn drop(&mut self) {
        self.task.abort();
    }
}
