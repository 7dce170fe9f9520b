//! SQS: standard queues with the test's clock.

mod error;
mod message;
mod operations;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bk_plugin_core::clock::{Clock, Timestamp};
use tokio::sync::Notify;

pub(crate) use error::Error;
pub(crate) use queue::Delivery;

use message::Message;
use queue::{Queue, Redrive, Settings, Stored};

/// The region of everything here.
pub const REGION: &str = "us-east-1";
/// The account that owns everything here.
pub const ACCOUNT: &str = "000000000000";

/// Options of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueOptions {
    /// How long a received message is hidden.
    pub visibility_timeout: Duration,
    /// The dead-letter queue, and the number of deliveries after which a message goes there. It moves when
    /// the next receive would deliver it once more.
    pub redrive: Option<(String, u32)>,
    /// Whether the receipt handle of an earlier delivery deletes the message. SQS promises neither behaviour.
    pub old_handles_delete: bool,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { visibility_timeout: Duration::from_secs(30), redrive: None, old_handles_delete: false }
    }
}

/// A message that is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message's id. It stays the same when the message is delivered again and when it becomes a dead
    /// letter.
    pub id: String,
    /// The body that was sent.
    pub body: String,
    /// When the message can be received, for the first time or again.
    pub due: Timestamp,
    /// Number of deliveries. For a dead letter, this includes deliveries from its former queue.
    pub receive_count: u32,
}

/// The ARN of a queue.
pub(crate) fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}")
}

/// Checks that whole seconds are within SQS's bounds for the parameter.
fn range(parameter: &str, seconds: i64, least: i64, most: i64) -> Result<Duration, Error> {
    if (least..=most).contains(&seconds) {
        return Ok(Duration::from_secs(seconds.unsigned_abs()));
    }
    Err(Error::invalid(seconds, parameter, &format!("Must be between {least} and {most}, if provided.")))
}

/// All queues.
pub(crate) struct Sqs {
    clock: Arc<dyn Clock>,
    endpoint: String,
    queues: Mutex<Queues>,
    /// Notified when a message may have become receivable for a reason other than the passing of time.
    changed: Notify,
}

#[derive(Default)]
struct Queues {
    by_name: BTreeMap<String, Queue>,
    last_key: u64,
}

impl Queues {
    fn get(&mut self, name: &str) -> Result<&mut Queue, Error> {
        let missing = || Error::new(error::QUEUE_DOES_NOT_EXIST, "The specified queue does not exist.");
        self.by_name.get_mut(name).ok_or_else(missing)
    }

    /// Receives, and moves dead letters to their queue.
    fn take(
        &mut self,
        name: &str,
        max: usize,
        visibility_timeout: Option<Duration>,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, Error> {
        let mut last_key = self.last_key;
        let mut next_key = || {
            last_key += 1;
            last_key
        };
        let queue = self.get(name)?;
        queue.expire(now);
        let visibility_timeout = visibility_timeout.unwrap_or(queue.settings.visibility_timeout);
        let (deliveries, dead) = queue.take(max, visibility_timeout, now, &mut next_key);
        if let Some(Redrive { dead_letter_queue, .. }) = queue.settings.redrive.clone() {
            let dead_letter_queue = self.get(&dead_letter_queue)?;
            for stored in dead {
                dead_letter_queue.put(next_key(), stored.into_dead_letter(arn(name), now));
            }
        }
        self.last_key = last_key;
        Ok(deliveries)
    }
}

impl Sqs {
    pub(crate) fn new(clock: Arc<dyn Clock>, endpoint: String) -> Self {
        Self { clock, endpoint, queues: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.endpoint)
    }

    pub(crate) fn create_queue_with(&self, name: &str, options: QueueOptions) -> String {
        let redrive = options.redrive.map(|(dead_letter_queue, max_receive_count)| {
            assert!(self.lock().get(&dead_letter_queue).is_ok(), "no queue {dead_letter_queue}");
            Redrive { dead_letter_queue, max_receive_count }
        });
        let settings = Settings {
            visibility_timeout: options.visibility_timeout,
            redrive,
            old_handles_delete: options.old_handles_delete,
            ..Settings::default()
        };
        self.create_queue(name, &settings).unwrap()
    }

    fn create_queue(&self, name: &str, settings: &Settings) -> Result<String, Error> {
        let allowed = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        if !(1..=80).contains(&name.len()) || !name.chars().all(allowed) {
            let text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
            return Err(Error::new(error::INVALID_PARAMETER_VALUE, text));
        }
        let now = self.clock.now();
        let mut queues = self.lock();
        let queue =
            queues.by_name.entry(name.to_owned()).or_insert_with(|| Queue::new(settings.clone(), now));
        if queue.settings != *settings {
            let text = format!("A queue already exists with the name {name} and other attributes.");
            return Err(Error::new(error::QUEUE_NAME_EXISTS, text));
        }
        Ok(self.url(name))
    }

    /// Stores a message and returns its id.
    fn send(&self, name: &str, message: Message) -> Result<String, Error> {
        message.check()?;
        let mut queues = self.lock();
        let key = queues.last_key + 1;
        let queue = queues.get(name)?;
        let now = self.clock.now();
        let visible_at = now + message.delay()?.unwrap_or(queue.settings.delay);
        let id = format!("00000000-0000-4000-8000-{key:012x}");
        queue.put(key, Stored::new(id.clone(), message, now, visible_at));
        queues.last_key = key;
        self.changed.notify_waiters();
        Ok(id)
    }

    /// Receives up to `max` messages. Waits up to `wait` for the first, which may be newly sent, due or
    /// visible again.
    pub(crate) async fn receive(
        &self,
        name: &str,
        max: usize,
        visibility_timeout: Option<Duration>,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Error> {
        let until = self.clock.now() + wait;
        loop {
            // From here on no sent message is missed.
            let changed = self.changed.notified();
            let now = self.clock.now();
            let deliveries = self.receive_now(name, max, visibility_timeout)?;
            if !deliveries.is_empty() || now >= until {
                return Ok(deliveries);
            }
            let next_due = self.lock().get(name)?.next_due();
            let wake_at = next_due.map_or(until, |due| due.min(until));
            let mut sleep = self.clock.sleep(wake_at.since(now));
            // A manual clock measures the sleep from its first poll, and may have been moved before that.
            if futures::poll!(&mut sleep).is_ready() || self.clock.now() != now {
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = sleep => {}
            }
        }
    }

    pub(crate) fn receive_now(
        &self,
        name: &str,
        max: usize,
        visibility_timeout: Option<Duration>,
    ) -> Result<Vec<Delivery>, Error> {
        let mut queues = self.lock();
        let last_key = queues.last_key;
        let deliveries = queues.take(name, max, visibility_timeout, self.clock.now())?;
        if queues.last_key > last_key {
            // The call moved a dead letter or made a copy of a message.
            self.changed.notify_waiters();
        }
        Ok(deliveries)
    }

    pub(crate) fn delete(&self, name: &str, handle: &str) -> Result<(), Error> {
        self.lock().get(name)?.delete(handle)
    }

    pub(crate) fn messages(&self, queue: &str) -> Vec<StoredMessage> {
        let now = self.clock.now();
        let mut queues = self.lock();
        let queue = queues.get(queue).unwrap();
        queue.expire(now);
        let look = |stored: &Stored| StoredMessage {
            id: stored.id.clone(),
            body: stored.message.body.clone(),
            due: stored.visible_at,
            receive_count: stored.receive_count,
        };
        queue.messages().map(look).collect()
    }

    pub(crate) fn deliver_twice(&self, queue: &str, deliveries: usize) {
        self.lock().get(queue).unwrap().deliver_twice(deliveries);
    }
}

impl Delivery {
    /// The attributes that the queue itself gives a message.
    pub(crate) fn system_attributes(&self) -> BTreeMap<&'static str, String> {
        let stored = &self.stored;
        let millis = |at: Timestamp| at.as_millis().to_string();
        let optional = [
            ("ApproximateFirstReceiveTimestamp", stored.first_received_at.map(millis)),
            ("AWSTraceHeader", stored.message.trace_header().map(ToOwned::to_owned)),
            ("DeadLetterQueueSourceArn", stored.dead_letter_of.clone()),
            ("MessageGroupId", stored.message.group.clone()),
        ];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let always = [
            ("ApproximateReceiveCount", stored.receive_count.to_string()),
            ("SenderId", "AIDAIENQZJOLO23YVJ4VO".to_owned()),
            ("SentTimestamp", millis(stored.sent_at)),
        ];
        always.into_iter().chain(optional).collect()
    }
}

/// The MD5 of a body, which SQS adds to each message.
pub(crate) fn md5_of(body: &str) -> String {
    format!("{:x}", md5::compute(body))
}
