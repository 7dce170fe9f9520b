//! The part of Lambda between a queue and a function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sqs::{Delivery, REGION, Sqs, arn, md5_of};

/// Lambda's poller for one queue, with `ReportBatchItemFailures`: makes events of messages, and deletes the messages
/// that the function has not named as failed.
///
/// To simulate a function that crashes or times out, do not settle its event: the messages come again after
/// the visibility time-out. Calls made here are not counted as requests.
pub struct EventSourceMapping {
    sqs: Arc<Sqs>,
    queue: String,
    batch_size: usize,
}

impl EventSourceMapping {
    pub(crate) fn new(sqs: Arc<Sqs>, queue: &str, batch_size: usize) -> Self {
        Self { sqs, queue: queue.to_owned(), batch_size }
    }

    /// An event of the messages that can be received now; `None` if there are none.
    pub fn receive_batch(&self) -> Option<Value> {
        self.event(&self.sqs.receive_now(&self.queue, self.batch_size, None).unwrap())
    }

    /// As [`Self::receive_batch`], but waits up to `wait` for a message, by the queue's clock.
    pub async fn wait_for_batch(&self, wait: Duration) -> Option<Value> {
        self.event(&self.sqs.receive(&self.queue, self.batch_size, None, wait).await.unwrap())
    }

    /// Deletes the messages of an event by the function's answer: all but those in `{"batchItemFailures":
    /// [{"itemIdentifier": messageId}]}`. Returns the number of deleted messages; the others come again after
    /// the visibility time-out.
    ///
    /// As with Lambda, an empty object or null means that no message failed. An answer that cannot be read,
    /// or that names a message outside the event, means that all failed.
    pub fn settle(&self, event: &Value, response: &Value) -> usize {
        let records = event["Records"].as_array().unwrap();
        let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
        let ids: BTreeSet<_> = records.iter().map(|record| text(record, "messageId")).collect();
        let failed = failures(response).filter(|failed| failed.is_subset(&ids)).unwrap_or(ids);
        let done = records.iter().filter(|record| !failed.contains(&text(record, "messageId")));
        done.map(|record| self.sqs.delete(&self.queue, &text(record, "receiptHandle")).unwrap()).count()
    }

    fn event(&self, deliveries: &[Delivery]) -> Option<Value> {
        let records: Vec<Value> = deliveries.iter().map(|delivery| self.record(delivery)).collect();
        (!records.is_empty()).then(|| json!({"Records": records}))
    }

    fn record(&self, delivery: &Delivery) -> Value {
        let message = &delivery.stored.message;
        let attributes: BTreeMap<_, _> = message
            .attributes
            .iter()
            .map(|(name, attribute)| {
                let mut json = json!({
                    "stringListValues": [], "binaryListValues": [], "dataType": attribute.data_type,
                });
                if let Some(text) = &attribute.string_value {
                    json["stringValue"] = json!(text);
                }
                if let Some(base64) = &attribute.binary_value {
                    json["binaryValue"] = json!(base64);
                }
                (name, json)
            })
            .collect();
        json!({
            "messageId": delivery.stored.id,
            "receiptHandle": delivery.handle,
            "body": message.body,
            "attributes": delivery.system_attributes(),
            "messageAttributes": attributes,
            "md5OfBody": md5_of(&message.body),
            "eventSource": "aws:sqs",
            "eventSourceARN": arn(&self.queue),
            "awsRegion": REGION,
        })
    }
}

/// The messages that an answer names as failed; `None` if it cannot be read.
fn failures(response: &Value) -> Option<BTreeSet<String>> {
    let failures = match response {
        Value::Null => return Some(BTreeSet::new()),
        Value::Object(response) => response.get("batchItemFailures").unwrap_or(&Value::Null),
        _ => return None,
    };
    match failures {
        Value::Null => Some(BTreeSet::new()),
        Value::Array(failures) => {
            failures.iter().map(|failure| Some(failure["itemIdentifier"].as_str()?.to_owned())).collect()
        }
        _ => None,
    }
}
