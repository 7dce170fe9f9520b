//! The services with a manual clock, and plain requests to them.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::memory::ManualClock;
use local_aws::{LocalAws, QueueOptions};
use serde_json::{Value, json};

pub(crate) const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) query_error: Option<String>,
    pub(crate) body: Value,
}

/// The services, and a client.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) aws: Arc<LocalAws>,
    pub(crate) clock: Arc<ManualClock>,
    client: reqwest::Client,
}

impl World {
    pub(crate) async fn open() -> Self {
        bk_plugin_service::tls::install();
        let clock = Arc::new(ManualClock::default());
        let aws = Arc::new(LocalAws::start(clock.clone()).await);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { aws, clock, client }
    }

    /// Starts the services with a queue named `q`.
    pub(crate) async fn with_queue() -> Self {
        let world = Self::open().await;
        world.aws.create_queue("q", QueueOptions::default());
        world
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        let request = self.client.post(self.aws.endpoint()).header("x-amz-target", target);
        let signature = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/x/aws4_request, SignedHeaders=host, Signature=s";
        let request = request.header("authorization", signature).header("x-amz-date", "20260101T000000Z");
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let response = request.body(body.to_string()).send().await?;
        let query_error = response.headers().get("x-amzn-query-error");
        let query_error = query_error.map(|header| header.to_str().unwrap().to_owned());
        Ok(Answer { status: response.status().as_u16(), query_error, body: response.json().await? })
    }

    /// Makes an operation on the queue `q`, which may succeed or fail.
    pub(crate) async fn ask(&self, operation: &str, mut body: Value) -> Answer {
        if body.get("QueueUrl").is_none() {
            body["QueueUrl"] = json!(self.url("q"));
        }
        self.post(&format!("AmazonSQS.{operation}"), &body).await.unwrap()
    }

    /// Makes an operation on the queue `q`, asserts that it succeeds, and returns its answer.
    pub(crate) async fn call(&self, operation: &str, body: Value) -> Value {
        let answer = self.ask(operation, body).await;
        assert_eq!(answer.status, 200, "{operation}: {answer:?}");
        answer.body
    }

    /// Makes an operation on the queue `q`, asserts that it is refused, and returns the error's code.
    pub(crate) async fn refusal(&self, operation: &str, body: Value) -> String {
        let answer = self.ask(operation, body).await;
        assert_eq!(answer.status, 400, "{operation}: {answer:?}");
        let code = answer.query_error.unwrap();
        code.strip_suffix(";Sender").unwrap().to_owned()
    }

    pub(crate) fn url(&self, queue: &str) -> String {
        format!("{}/{}/{queue}", self.aws.endpoint(), local_aws::ACCOUNT)
    }

    pub(crate) async fn send(&self, body: &str) {
        self.call("SendMessage", json!({"MessageBody": body})).await;
    }

    /// Receives up to ten messages from the queue `q`.
    pub(crate) async fn receive(&self) -> Vec<Value> {
        self.receive_from("q").await
    }

    pub(crate) async fn receive_from(&self, queue: &str) -> Vec<Value> {
        let request = json!({
            "QueueUrl": self.url(queue), "MaxNumberOfMessages": 10, "AttributeNames": ["All"],
        });
        let answer = self.call("ReceiveMessage", request).await;
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    /// Receives up to ten messages, and returns their bodies and receive counts.
    pub(crate) async fn received(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let look = |message: &Value| {
            (text(&message["Body"]), text(&message["Attributes"]["ApproximateReceiveCount"]))
        };
        self.receive().await.iter().map(look).collect()
    }

    pub(crate) async fn delete(&self, message: &Value) {
        self.call("DeleteMessage", json!({"ReceiptHandle": message["ReceiptHandle"]})).await;
    }

    /// The numbers of messages that are visible, in flight and delayed.
    pub(crate) async fn counts(&self) -> [u32; 3] {
        let answer = self.call("GetQueueAttributes", json!({"AttributeNames": ["All"]})).await;
        ["", "NotVisible", "Delayed"].map(|state| {
            let count = &answer["Attributes"][format!("ApproximateNumberOfMessages{state}")];
            count.as_str().unwrap().parse().unwrap()
        })
    }
}

/// The only element.
pub(crate) fn one<T>(mut of: Vec<T>) -> T {
    assert_eq!(of.len(), 1);
    of.remove(0)
}
