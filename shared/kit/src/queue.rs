//! The port to the delayed queue: at-least-once messages with a delay, a visibility time-out and a receive
//! count, as SQS has them. The queue carries requests to look at a record; every fact is in the record.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{Receipt, TraceId};
use crate::table::StoreError;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// Run the next step.
    WakeUp(WakeUp),
    /// Post the finish callback.
    Finish(Finish),
}

impl Message {
    /// The invocation the message is about.
    pub fn trace_id(&self) -> &TraceId {
        match self {
            Self::WakeUp(wake_up) => &wake_up.trace_id,
            Self::Finish(finish) => &finish.trace_id,
        }
    }
}

/// Asks for the next step of an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {
    /// The invocation.
    pub trace_id: TraceId,
    /// The step asked for is the one after this many committed ones.
    pub after_step: u32,
    /// Not before then.
    pub due_at: Timestamp,
    /// The callback this is sent for, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// How often it has been put back.
    #[serde(default)]
    pub put_backs: u32,
    /// How often a runner seems to have died of it before it was put back: a copy is a new message to the
    /// queue, whose own count begins anew.
    #[serde(default)]
    pub deaths: u32,
}

/// Asks for the finish callback of an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The invocation.
    pub trace_id: TraceId,
    /// Posts that failed so far.
    pub attempt: u32,
}

/// A message as it was received.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Names this delivery to [`Queue::delete`].
    pub handle: String,
    /// How often the message has been received, this time included, without having been deleted.
    pub receive_count: u32,
}

impl Delivery {
    /// How often the message was received before and not deleted: its runner died, or could do nothing.
    pub fn deaths(&self) -> u32 {
        let before = match &self.message {
            Message::WakeUp(wake_up) => wake_up.deaths,
            Message::Finish(_) => 0,
        };
        before.saturating_add(self.receive_count.saturating_sub(1))
    }

    /// The message to be handled: one that knows its deaths, so that a copy of it does.
    pub fn to_handle(&self) -> Message {
        match &self.message {
            Message::WakeUp(wake_up) => Message::WakeUp(WakeUp { deaths: self.deaths(), ..wake_up.clone() }),
            message @ Message::Finish(_) => message.clone(),
        }
    }
}

/// The delayed queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores a message that can be received after `delay`, which is at most [`Queue::longest_delay`].
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError>;

    /// Up to `max` messages that are due; waits up to `wait` for the first. Each is hidden from other
    /// receivers for the visibility time-out, then it can be received again unless it was deleted.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError>;

    /// Removes a received message. One that is gone already is no error.
    async fn delete(&self, handle: &str) -> Result<(), StoreError>;

    /// The longest delay `send` takes.
    fn longest_delay(&self) -> Duration;
}
