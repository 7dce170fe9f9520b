//! The port to the delayed queue: at-least-once messages with a delay, a visibility time-out and a receive
//! count, as SQS has them. The queue carries requests to look at a record; every fact is in the record.
//!
//! Not promised: any order, or that only one receiver has a message at a time. The crate `contract` has the tests that
//! every implementation passes.

mod body;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::ids::{LeaseToken, Receipt, TraceId};
use crate::message_group::MessageGroup;
use crate::store_error::StoreError;
use crate::trace_context::TraceContext;

pub use body::{NotAMessage, Unread, Unreadable};

/// A request to look at a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// Run the next step.
    WakeUp(WakeUp),
    /// Post the finish callback.
    Finish(Finish),
    /// Anything else: a newer release has sent it, or it is damaged. It is neither lost nor changed.
    #[serde(skip)]
    Unreadable(Unreadable),
}

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageKind {
    /// The next step.
    WakeUp,
    /// A post of the finish callback.
    Finish,
}

impl Message {
    /// What it asks for.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::WakeUp(_) => MessageKind::WakeUp,
            // No author's code runs for a message that cannot be read: it needs no slot of a step.
            Self::Finish(_) | Self::Unreadable(_) => MessageKind::Finish,
        }
    }

    /// The invocation that the message is about.
    pub fn trace_id(&self) -> &TraceId {
        match self {
            Self::WakeUp(wake_up) => &wake_up.trace_id,
            Self::Finish(finish) => &finish.trace_id,
            Self::Unreadable(unreadable) => &unreadable.trace_id,
        }
    }

    /// For whom the work is, if that is known: messages of releases before groups have none.
    pub fn group(&self) -> Option<&MessageGroup> {
        match self {
            Self::WakeUp(wake_up) => wake_up.group.as_ref(),
            Self::Finish(finish) => finish.group.as_ref(),
            Self::Unreadable(_) => None,
        }
    }

    /// How many receivers seem to have crashed on this message: its deliveries beyond the first, plus the crashes of the
    /// messages it was copied from. Deliveries of a wake-up that is only run alone say nothing: the record shows what
    /// became of its run.
    pub fn crashes(&self, receive_count: u32) -> u32 {
        let again = receive_count.saturating_sub(1);
        match self {
            Self::WakeUp(WakeUp { alone: Some(_), crashes, .. }) => *crashes,
            Self::WakeUp(wake_up) => wake_up.crashes.saturating_add(again),
            Self::Finish(_) => again,
            // It may be a wake-up that is only run alone, and no receiver has run its step.
            Self::Unreadable(unreadable) => unreadable.crashes(),
        }
    }

    /// The trace that the message belongs to.
    pub fn trace(&self) -> &TraceContext {
        match self {
            Self::WakeUp(wake_up) => &wake_up.trace,
            Self::Finish(finish) => &finish.trace,
            Self::Unreadable(_) => TraceContext::NONE,
        }
    }

    /// How often it has been put back.
    pub fn put_backs(&self) -> u32 {
        match self {
            Self::WakeUp(wake_up) => wake_up.put_backs,
            Self::Finish(_) | Self::Unreadable(_) => 0,
        }
    }

    /// This message with one more put-back counted.
    #[must_use]
    pub fn put_back(self) -> Self {
        match self {
            Self::WakeUp(wake_up) => {
                Self::WakeUp(WakeUp { put_backs: wake_up.put_backs.saturating_add(1), ..wake_up })
            }
            other @ (Self::Finish(_) | Self::Unreadable(_)) => other,
        }
    }

    /// A copy of this message with the crash count set.
    #[must_use]
    pub fn with_crashes(&self, crashes: u32) -> Self {
        match self {
            Self::WakeUp(wake_up) => Self::WakeUp(WakeUp { crashes, ..wake_up.clone() }),
            Self::Finish(finish) => Self::Finish(finish.clone()),
            Self::Unreadable(unreadable) => Self::Unreadable(unreadable.clone().with_crashes(crashes)),
        }
    }
}

/// Asks for the next step of an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {
    /// The invocation.
    pub trace_id: TraceId,
    /// Committed steps before the step that is asked for.
    pub after_step: u32,
    /// The earliest time of the step.
    pub due_at: Timestamp,
    /// The callback that the wake-up was sent for, if it was sent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// How often it has been put back.
    #[serde(default)]
    pub put_backs: u32,
    /// Crashes counted before the message was put back. A put-back is a new message for the queue, and must not reset
    /// the count of a step that crashes its process.
    #[serde(default)]
    pub crashes: u32,
    /// Set on a wake-up that is only run alone, with nothing else under way in its process: the token of the lease that
    /// this run claims. If that lease is still on the record when it is over, the run never came to its end, and nothing
    /// but its step can have ended the process from within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<LeaseToken>,
    /// The group of the invocation's plugin version, if the sender knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<MessageGroup>,
    /// The trace it belongs to: that of the call or the callback that led to it.
    #[serde(default, skip_serializing_if = "TraceContext::is_empty")]
    pub trace: TraceContext,
}

impl WakeUp {
    /// A wake-up for the step after `after_step` committed ones, due at `due_at`.
    pub fn for_step(trace_id: TraceId, after_step: u32, due_at: Timestamp) -> Self {
        let trace = TraceContext::default();
        let (receipt, alone, group) = (None, None, None);
        Self { trace_id, after_step, due_at, receipt, put_backs: 0, crashes: 0, alone, group, trace }
    }

    /// A wake-up for the step that is given this callback.
    pub fn for_callback(trace_id: TraceId, receipt: Receipt, due_at: Timestamp) -> Self {
        Self { receipt: Some(receipt), ..Self::for_step(trace_id, 0, due_at) }
    }

    /// The same wake-up, only to be run alone. Its run claims a lease that no run before has claimed: what became of those
    /// is accounted for.
    #[must_use]
    pub fn alone(self, crashes: u32) -> Self {
        let token = self.alone.map_or_else(LeaseToken::random_alone, |before| before.next_alone());
        Self { crashes, alone: Some(token), ..self }
    }
}

/// Asks for a post of an invocation's finish callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The invocation.
    pub trace_id: TraceId,
    /// Posts that failed before.
    pub attempt: u32,
    /// When the invocation ended, as the commit says that the message was sent for. It is sent before that commit,
    /// which may not be made. `None`: a former release has sent the message, after the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_at: Option<Timestamp>,
    /// The group of the host that is posted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<MessageGroup>,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "TraceContext::is_empty")]
    pub trace: TraceContext,
}

impl Finish {
    /// A request for the first post.
    pub fn first(trace_id: TraceId) -> Self {
        Self { trace_id, attempt: 0, finish_at: None, group: None, trace: TraceContext::default() }
    }
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Names this delivery to [`Queue::delete`]. Each delivery of a message has its own.
    pub handle: String,
    /// How often the message was received without being deleted, this delivery included.
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

/// What a receiver asks for.
#[derive(Debug, Clone)]
pub struct Receive<'a> {
    /// Most messages to receive.
    pub max: usize,
    /// How long to wait for the first one.
    pub wait: Duration,
    /// Which messages it takes.
    pub selection: Selection,
    /// Ends the wait before its time, with no message, as soon as it is notified: the receiver wants something else now.
    /// (To drop the call instead might lose messages that it has just been given.)
    pub ended_by: Option<&'a Notify>,
}

impl Receive<'_> {
    /// Returns when the wait is to end before its time.
    pub async fn ended(&self) {
        match self.ended_by {
            Some(notify) => notify.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// Which messages a receiver takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every message.
    All,
    /// Every wake-up.
    WakeUps,
    /// The wake-ups of these groups.
    WakeUpsOf(Vec<MessageGroup>),
    /// Requests for finish callbacks, except those of these groups. Messages that cannot be read count as such.
    FinishesExcept(Vec<MessageGroup>),
}

impl Selection {
    /// Whether messages of this kind and group are taken.
    pub fn takes(&self, kind: MessageKind, group: Option<&MessageGroup>) -> bool {
        let is_one_of = |groups: &[MessageGroup]| group.is_some_and(|group| groups.contains(group));
        match (self, kind) {
            (Self::All, _) | (Self::WakeUps, MessageKind::WakeUp) => true,
            (Self::WakeUpsOf(groups), MessageKind::WakeUp) => is_one_of(groups),
            (Self::FinishesExcept(groups), MessageKind::Finish) => !is_one_of(groups),
            _ => false,
        }
    }
}

/// The delayed queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores a message ([`Message::to_body`]) that can be received after `delay`, which is at most
    /// [`Queue::longest_delay`].
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError>;

    /// Returns messages that are due, possibly fewer than there are. Waits for the first one, which may be sent, fall due
    /// or become visible again meanwhile. A received message is hidden from other receivers for the visibility time-out;
    /// after that it can be received again unless it was deleted.
    ///
    /// A body that names no invocation ([`Message::parse`]) is not returned. It goes to the dead letters, and the log
    /// says so.
    ///
    /// Messages that are not selected stay, however many are due, and hold no other up. (SQS cannot select: it returns
    /// every message, and waits to the end. No worker receives from it; Lambda does, and SQS itself is fair to groups.)
    async fn receive_selected(&self, receive: Receive<'_>) -> Result<Vec<Delivery>, StoreError>;

    /// Receives up to `max` of all messages; waits up to `wait`.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, StoreError> {
        self.receive_selected(Receive { max, wait, selection: Selection::All, ended_by: None }).await
    }

    /// Removes a received message. A message that is gone already is not an error. The handle of an earlier delivery is
    /// not an error either, and the message may or may not be removed: callers only delete messages whose work is done.
    async fn delete(&self, handle: &str) -> Result<(), StoreError>;

    /// The longest delay `send` takes.
    fn longest_delay(&self) -> Duration;
}
