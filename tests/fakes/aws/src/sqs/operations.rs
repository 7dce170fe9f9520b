//! The operations of SQS's JSON protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::{self, Error};
use super::message::{LARGEST, Message};
use super::queue::{Delivery, Redrive, Settings};
use super::{Sqs, arn, md5_of, range};

const LARGEST_BATCH: usize = 10;
const LONGEST_VISIBILITY_TIMEOUT: i64 = 12 * 60 * 60;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateQueue {
    queue_name: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    /// A number or a text.
    max_receive_count: Value,
}

/// A request for the URL or the attributes of a queue.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfQueue {
    queue_name: String,
    attribute_names: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ReceiveMessage {
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
}

/// A request about a received message.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfDelivery {
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound = "T: DeserializeOwned")]
struct Batch<T> {
    #[serde(default = "Vec::new")]
    entries: Vec<Entry<T>>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Entry<T> {
    #[serde(rename = "Id", default)]
    id: String,
    #[serde(flatten)]
    content: T,
}

impl Sqs {
    /// Runs the operation of a request.
    pub(crate) async fn answer(&self, operation: &str, body: &[u8]) -> Result<Value, Error> {
        let request: Value = parse(serde_json::from_slice(body))?;
        match operation {
            "CreateQueue" => self.handle_create(&read(request)?),
            "GetQueueUrl" => self.handle_get_url(&read(request)?),
            _ => self.answer_on_queue(operation, &self.queue_of(&request)?, request).await,
        }
    }

    async fn answer_on_queue(&self, operation: &str, queue: &str, request: Value) -> Result<Value, Error> {
        match operation {
            "GetQueueAttributes" => self.handle_get_attributes(queue, &read(request)?),
            "SendMessage" => self.handle_send(queue, read(request)?),
            "SendMessageBatch" => self.handle_send_batch(queue, read(request)?),
            "ReceiveMessage" => self.handle_receive(queue, &read(request)?).await,
            "DeleteMessage" => self.handle_delete(queue, &read(request)?),
            "DeleteMessageBatch" => batch(read(request)?, |delivery| self.handle_delete(queue, &delivery)),
            "ChangeMessageVisibility" => self.handle_change_visibility(queue, &read(request)?),
            "PurgeQueue" => {
                self.lock().get(queue)?.purge(self.clock.now())?;
                Ok(json!({}))
            }
            _ => {
                let text = format!("The operation {operation} is not one of this double.");
                Err(Error::new(error::UNKNOWN_OPERATION, text))
            }
        }
    }

    /// The name of a request's queue, which is known to exist.
    fn queue_of(&self, request: &Value) -> Result<String, Error> {
        let url = request["QueueUrl"].as_str().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| Error::missing("QueueUrl"))?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        self.lock().get(&name)?;
        Ok(name)
    }

    fn handle_create(&self, request: &CreateQueue) -> Result<Value, Error> {
        let mut settings = Settings::default();
        for (name, value) in &request.attributes {
            let seconds = |least, most| {
                let value = value.parse().map_err(|_| invalid_attribute(name))?;
                range(name, value, least, most).map_err(|_| invalid_attribute(name))
            };
            match name.as_str() {
                "VisibilityTimeout" => settings.visibility_timeout = seconds(0, LONGEST_VISIBILITY_TIMEOUT)?,
                "DelaySeconds" => settings.delay = seconds(0, 900)?,
                "MessageRetentionPeriod" => settings.retention = seconds(60, 14 * 24 * 60 * 60)?,
                "ReceiveMessageWaitTimeSeconds" => settings.wait = seconds(0, 20)?,
                "RedrivePolicy" => settings.redrive = Some(self.redrive(value)?),
                _ => {
                    let text = format!("Unknown Attribute {name}.");
                    return Err(Error::new(error::INVALID_ATTRIBUTE_NAME, text));
                }
            }
        }
        Ok(json!({"QueueUrl": self.create_queue(&request.queue_name, &settings)?}))
    }

    fn redrive(&self, policy: &str) -> Result<Redrive, Error> {
        let invalid = |reason| Error::invalid(policy, "RedrivePolicy", reason);
        let read: RedrivePolicy =
            serde_json::from_str(policy).map_err(|_| invalid("Redrive policy is not a valid JSON map."))?;
        let target = read.dead_letter_target_arn;
        let name = target.rsplit(':').next().unwrap_or_default().to_owned();
        if arn(&name) != target || self.lock().get(&name).is_err() {
            return Err(invalid("Dead letter target does not exist."));
        }
        let count = read.max_receive_count;
        let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
        match count.and_then(|count| u32::try_from(count).ok()).filter(|count| (1..=1000).contains(count)) {
            Some(max_receive_count) => Ok(Redrive { dead_letter_queue: name, max_receive_count }),
            None => Err(invalid("maxReceiveCount must be an integer between 1 and 1000.")),
        }
    }

    fn handle_get_url(&self, request: &OfQueue) -> Result<Value, Error> {
        self.lock().get(&request.queue_name)?;
        Ok(json!({"QueueUrl": self.url(&request.queue_name)}))
    }

    fn handle_get_attributes(&self, name: &str, request: &OfQueue) -> Result<Value, Error> {
        let now = self.clock.now();
        let mut queues = self.lock();
        let queue = queues.get(name)?;
        queue.expire(now);
        let counts = queue.counts(now);
        let settings = &queue.settings;
        let seconds = |duration: Duration| duration.as_secs().to_string();
        let mut attributes = BTreeMap::from([
            ("QueueArn", arn(name)),
            ("ApproximateNumberOfMessages", counts.visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", counts.not_visible.to_string()),
            ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
            ("CreatedTimestamp", queue.created_at.as_secs().to_string()),
            ("VisibilityTimeout", seconds(settings.visibility_timeout)),
            ("DelaySeconds", seconds(settings.delay)),
            ("MessageRetentionPeriod", seconds(settings.retention)),
            ("ReceiveMessageWaitTimeSeconds", seconds(settings.wait)),
            ("MaximumMessageSize", LARGEST.to_string()),
        ]);
        if let Some(redrive) = &settings.redrive {
            let policy = json!({
                "deadLetterTargetArn": arn(&redrive.dead_letter_queue),
                "maxReceiveCount": redrive.max_receive_count,
            });
            attributes.insert("RedrivePolicy", policy.to_string());
        }
        let known = |name: &str| name == "All" || name == "RedrivePolicy" || attributes.contains_key(name);
        if let Some(unknown) = request.attribute_names.iter().find(|name| !known(name)) {
            let text = format!("Unknown Attribute {unknown}.");
            return Err(Error::new(error::INVALID_ATTRIBUTE_NAME, text));
        }
        attributes.retain(|name, _| is_asked_for(name, &request.attribute_names));
        Ok(if attributes.is_empty() { json!({}) } else { json!({"Attributes": attributes}) })
    }

    fn handle_send(&self, queue: &str, message: Message) -> Result<Value, Error> {
        let md5 = md5_of(&message.body);
        let id = self.send(queue, message)?;
        Ok(json!({"MessageId": id, "MD5OfMessageBody": md5}))
    }

    fn handle_send_batch(&self, queue: &str, request: Batch<Message>) -> Result<Value, Error> {
        let size: usize = request.entries.iter().map(|entry| entry.content.size()).sum();
        if size > LARGEST {
            let text =
                format!("Batch requests cannot be longer than {LARGEST} bytes. You have sent {size} bytes.");
            return Err(Error::new(error::BATCH_REQUEST_TOO_LONG, text));
        }
        batch(request, |message| self.handle_send(queue, message))
    }

    async fn handle_receive(&self, queue: &str, request: &ReceiveMessage) -> Result<Value, Error> {
        let max = request.max_number_of_messages.unwrap_or(1);
        let max =
            usize::try_from(max).ok().filter(|max| (1..=LARGEST_BATCH).contains(max)).ok_or_else(|| {
                Error::invalid(max, "MaxNumberOfMessages", "Must be between 1 and 10, if provided.")
            })?;
        let visibility_timeout = request.visibility_timeout;
        let visibility_timeout = visibility_timeout
            .map(|seconds| range("VisibilityTimeout", seconds, 0, LONGEST_VISIBILITY_TIMEOUT))
            .transpose()?;
        let wait = match request.wait_time_seconds {
            Some(seconds) => range("WaitTimeSeconds", seconds, 0, 20)?,
            None => self.lock().get(queue)?.settings.wait,
        };
        let deliveries = self.receive(queue, max, visibility_timeout, wait).await?;
        if deliveries.is_empty() {
            return Ok(json!({}));
        }
        let messages: Vec<Value> = deliveries.iter().map(|delivery| received(delivery, request)).collect();
        Ok(json!({"Messages": messages}))
    }

    fn handle_delete(&self, queue: &str, delivery: &OfDelivery) -> Result<Value, Error> {
        if delivery.receipt_handle.is_empty() {
            return Err(Error::missing("ReceiptHandle"));
        }
        self.delete(queue, &delivery.receipt_handle)?;
        Ok(json!({}))
    }

    fn handle_change_visibility(&self, queue: &str, delivery: &OfDelivery) -> Result<Value, Error> {
        let seconds = delivery.visibility_timeout.ok_or_else(|| Error::missing("VisibilityTimeout"))?;
        let timeout = range("VisibilityTimeout", seconds, 0, LONGEST_VISIBILITY_TIMEOUT)?;
        self.lock().get(queue)?.change_visibility(&delivery.receipt_handle, timeout, self.clock.now())?;
        self.changed.notify_waiters();
        Ok(json!({}))
    }
}

fn invalid_attribute(name: &str) -> Error {
    Error::new(error::INVALID_ATTRIBUTE_VALUE, format!("Invalid value for the parameter {name}."))
}

fn parse<T>(read: serde_json::Result<T>) -> Result<T, Error> {
    read.map_err(|error| Error::new(error::SERIALIZATION, error.to_string()))
}

fn read<T: DeserializeOwned>(request: Value) -> Result<T, Error> {
    parse(serde_json::from_value(request))
}

/// Whether the request asks for this attribute. `All` asks for every one; for the sender's attributes, `.*`
/// and `prefix.*` are patterns too.
fn is_asked_for(name: &str, asked: &[String]) -> bool {
    asked.iter().any(|asked| {
        asked == "All"
            || asked == name
            || asked.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
    })
}

/// A message in the form of ReceiveMessage's answer.
fn received(delivery: &Delivery, request: &ReceiveMessage) -> Value {
    let message = &delivery.stored.message;
    let mut json = Map::new();
    json.insert("MessageId".to_owned(), json!(delivery.stored.id));
    json.insert("ReceiptHandle".to_owned(), json!(delivery.handle));
    json.insert("MD5OfBody".to_owned(), json!(md5_of(&message.body)));
    json.insert("Body".to_owned(), json!(message.body));
    let mut attributes = delivery.system_attributes();
    attributes.retain(|name, _| {
        is_asked_for(name, &request.attribute_names)
            || is_asked_for(name, &request.message_system_attribute_names)
    });
    if !attributes.is_empty() {
        json.insert("Attributes".to_owned(), json!(attributes));
    }
    let mut attributes = message.attributes.clone();
    attributes.retain(|name, _| is_asked_for(name, &request.message_attribute_names));
    if !attributes.is_empty() {
        json.insert("MessageAttributes".to_owned(), json!(attributes));
    }
    Value::Object(json)
}

/// Runs each entry of a batch on its own, after checking the batch as a whole.
fn batch<T>(request: Batch<T>, mut run: impl FnMut(T) -> Result<Value, Error>) -> Result<Value, Error> {
    let count = request.entries.len();
    let ids: BTreeSet<_> = request.entries.iter().map(|entry| entry.id.clone()).collect();
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if count == 0 {
        let text = "There should be at least one entry in the request.";
        return Err(Error::new(error::EMPTY_BATCH_REQUEST, text));
    }
    if count > LARGEST_BATCH {
        let text =
            format!("Maximum number of entries per request are {LARGEST_BATCH}. You have sent {count}.");
        return Err(Error::new(error::TOO_MANY_ENTRIES, text));
    }
    if !ids.iter().all(|id| (1..=80).contains(&id.len()) && id.chars().all(allowed)) {
        let text = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be \
                    at most 80 letters long.";
        return Err(Error::new(error::INVALID_BATCH_ENTRY_ID, text));
    }
    if ids.len() < count {
        return Err(Error::new(error::BATCH_ENTRY_IDS_NOT_DISTINCT, "Two or more entries have the same Id."));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for Entry { id, content } in request.entries {
        match run(content) {
            Ok(mut answer) => {
                answer["Id"] = json!(id);
                successful.push(answer);
            }
            Err(error) => failed.push(json!({
                "Id": id, "SenderFault": true, "Code": error.code(), "Message": error.text(),
            })),
        }
    }
    Ok(json!({"Successful": successful, "Failed": failed}))
}
