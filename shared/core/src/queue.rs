//! The port to the delayed queue: at-least-once messages with a delay, a visibility time-out and a receive
//! count, as SQS has them. The queue carries requests to look at a record; every fact is in the record.
//!
//! Not promised: any order; that a message is with one receiver at a time. The crate `contract` has the tests
//! that every implementation passes.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{Receipt, TraceId};
use crate::store_error::StoreError;
use crate::trace_context::TraceContext;

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

    /// How often whoever received the message seems to have died of it, when it was received `receive_count`
    /// times: the count of the queue, and that of the messages it is a copy of.
    pub fn crashes(&self, receive_count: u32) -> u32 {
        let before = match self {
            Self::WakeUp(wake_up) => wake_up.crashes,
            Self::Finish(_) => 0,
        };
        before.saturating_add(receive_count.saturating_sub(1))
    }

    /// The trace that the message belongs to.
    pub fn trace(&self) -> &TraceContext {
        match self {
            Self::WakeUp(wake_up) => &wake_up.trace,
            Self::Finish(finish) => &finish.trace,
        }
    }

    /// How often it has been put back.
    pub fn put_backs(&self) -> u32 {
        match self {
            Self::WakeUp(wake_up) => wake_up.put_backs,
            Self::Finish(_) => 0,
        }
    }

    /// The same message, put back once more.
    pub fn put_back(self) -> Self {
        match self {
            Self::WakeUp(wake_up) => {
                Self::WakeUp(WakeUp { put_backs: wake_up.put_backs.saturating_add(1), ..wake_up })
            }
            Self::Finish(finish) => Self::Finish(finish),
        }
    }

    /// The same message, and copies of it, knowing of these crashes.
    pub fn with_crashes(&self, crashes: u32) -> Self {
        match self {
            Self::WakeUp(wake_up) => Self::WakeUp(WakeUp { crashes, ..wake_up.clone() }),
            Self::Finish(finish) => Self::Finish(finish.clone()),
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
    /// How often it was received without having been deleted before it was put back: a put-back is a new
    /// message, and a step that kills its runner must not begin its count anew with it.
    #[serde(default)]
    pub crashes: u32,
    /// The trace it belongs to: that of the call or the callback it goes back to.
    #[serde(default, skip_serializing_if = "TraceContext::is_empty")]
    pub trace: TraceContext,
}

impl WakeUp {
    /// Asks for the step after `after_step` committed ones, from `due_at` on.
    pub fn for_step(trace_id: TraceId, after_step: u32, due_at: Timestamp) -> Self {
        let trace = TraceContext::default();
        Self { trace_id, after_step, due_at, receipt: None, put_backs: 0, crashes: 0, trace }
    }

    /// Asks for a step that is given a callback.
    pub fn for_callback(trace_id: TraceId, receipt: Receipt, due_at: Timestamp) -> Self {
        Self { receipt: Some(receipt), ..Self::for_step(trace_id, 0, due_at) }
    }
}

/// Asks for the finish callback of an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The invocation.
    pub trace_id: TraceId,
    /// Posts that failed so far.
    pub attempt: u32,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "TraceContext::is_empty")]
    pub trace: TraceContext,
}

impl Finish {
    /// Asks for the first post.
    pub fn first(trace_id: TraceId) -> Self {
        Self { trace_id, attempt: 0, trace: TraceContext::default() }
    }
}

/// A message as it was received.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Names this delivery to [`Queue::delete`]; each delivery of a message has another one.
    pub handle: String,
    /// How often the message has been received, this time included, without having been deleted.
    pub receive_count: u32,
}

impl Delivery {
    /// How many receivers seem to have crashed on the message before this delivery: [`Message::crashes`].
    pub fn crashes(&self) -> u32 {
        self.message.crashes(self.receive_count)
    }
}

impl AsRef<Self> for Delivery {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The delayed queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores a message that can be received after `delay`, which is at most [`Queue::longest_delay`].
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError>;

    /// Up to `max` messages that are due, which may be fewer than there are; waits up to `wait` for the first,
    /// be it sent, due or visible again meanwhile. Each is hidden from other receivers for the visibility
    /// time-out, then it can be received again unless it was deleted.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError>;

    /// Removes a received message. One that is gone already is no error. With the handle of an earlier
    /// delivery it is no error either, and the message may go or stay: whoever deletes has found that the
    /// message has nothing left to ask for.
    async fn delete(&self, handle: &str) -> Result<(), StoreError>;

    /// The longest delay `send` takes.
    fn longest_delay(&self) -> Duration;
}
