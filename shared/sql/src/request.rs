//! Requests to the writer.

use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{MessageKind, Selection};
use tokio::sync::oneshot;

use crate::change::Change;
use crate::message::{Handle, MessageRow};
use crate::reply::Reply;

pub(crate) enum Request {
    Change(Change),
    Send(SendMessage),
    Delete(DeleteMessage),
    MoveToDeadLetters(MoveToDeadLetters),
    Receive(ReceiveMessages),
    EndWait(ReceiverId),
    DeleteExpired(DeleteExpired),
    /// Asks whether the database can be written.
    Ping(Reply<()>),
    Close(oneshot::Sender<()>),
}

impl Request {
    /// Bytes that it adds to a transaction.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Change(change) => change.size(),
            Self::Send(send) => send.body.len(),
            Self::Delete(_)
            | Self::MoveToDeadLetters(_)
            | Self::Receive(_)
            | Self::EndWait(_)
            | Self::DeleteExpired(_)
            | Self::Ping(_)
            | Self::Close(_) => 0,
        }
    }
}

/// Stores a message.
#[derive(Debug)]
pub(crate) struct SendMessage {
    pub(crate) kind: MessageKind,
    pub(crate) group: Option<MessageGroup>,
    pub(crate) body: String,
    pub(crate) due_at: Timestamp,
    pub(crate) reply: Reply<()>,
}

/// Removes a received message.
pub(crate) struct DeleteMessage {
    pub(crate) handle: Handle,
    pub(crate) reply: Reply<()>,
}

/// Takes a message that cannot be read out of the queue and keeps it with the dead letters.
pub(crate) struct MoveToDeadLetters {
    pub(crate) handle: Handle,
    pub(crate) reason: String,
    pub(crate) reply: Reply<()>,
}

impl SendMessage {
    /// Its kind as the column has it.
    pub(crate) fn kind_number(&self) -> i64 {
        match self.kind {
            MessageKind::WakeUp => 0,
            MessageKind::Finish => 1,
        }
    }

    /// Its group as the column has it.
    pub(crate) fn group_text(&self) -> Option<&str> {
        self.group.as_ref().map(MessageGroup::as_str)
    }

    pub(crate) fn is_in(&self, selection: &Selection) -> bool {
        selection.takes(self.kind, self.group.as_ref())
    }
}

/// Names a receiver, so that its wait can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiverId(pub(crate) u64);

/// Receives up to `max` messages of a selection; waits up to `wait` for the first.
pub(crate) struct ReceiveMessages {
    pub(crate) id: ReceiverId,
    pub(crate) max: usize,
    pub(crate) selection: Selection,
    pub(crate) wait: Duration,
    pub(crate) reply: Reply<Vec<MessageRow>>,
}

/// Deletes up to `at_most` records that have expired at `now`.
pub(crate) struct DeleteExpired {
    pub(crate) now: Timestamp,
    pub(crate) at_most: u32,
    pub(crate) reply: Reply<u64>,
}
