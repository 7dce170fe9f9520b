//! What a writer is asked to do.

use std::time::Duration;

use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::table::StoreError;
use tokio::sync::oneshot;

use crate::transaction::Change;

/// Where the answer to a job goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

pub(crate) enum Job {
    Change(Change),
    Send(Send),
    Delete(Delete),
    Bury(Bury),
    Receive(Receive),
    Expire(Expire),
    Close(oneshot::Sender<()>),
}

impl Job {
    /// Bytes it brings.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Change(change) => change.size(),
            Self::Send(send) => send.body.len(),
            Self::Delete(_) | Self::Bury(_) | Self::Receive(_) | Self::Expire(_) | Self::Close(_) => 0,
        }
    }
}

/// Asks for a message to be stored.
pub(crate) struct Send {
    pub(crate) body: String,
    pub(crate) due_at: Timestamp,
    pub(crate) answer: Answer<()>,
}

/// Asks for a received message to be removed.
pub(crate) struct Delete {
    pub(crate) handle: Handle,
    pub(crate) answer: Answer<()>,
}

/// Asks for a message that cannot be read to be taken out of the queue.
pub(crate) struct Bury {
    pub(crate) handle: Handle,
    pub(crate) reason: String,
    pub(crate) answer: Answer<()>,
}

/// Asks for messages.
pub(crate) struct Receive {
    pub(crate) max: usize,
    pub(crate) wait: Duration,
    pub(crate) answer: Answer<Vec<MessageRow>>,
}

/// Asks for finished records to be deleted.
pub(crate) struct Expire {
    pub(crate) now: Timestamp,
    pub(crate) at_most: u32,
    pub(crate) answer: Answer<u64>,
}

/// A message as it is stored, received for the `receive_count`th time.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct MessageRow {
    pub(crate) id: i64,
    pub(crate) receive_count: i64,
    pub(crate) body: String,
}

/// One delivery of a message: each raises the count, so the handle of an earlier one does not fit any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) id: i64,
    pub(crate) receive_count: i64,
}

impl Handle {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, receive_count) = text.split_once('-')?;
        Some(Self { id: id.parse().ok()?, receive_count: receive_count.parse().ok()? })
    }

    pub(crate) fn to_text(self) -> String {
        format!("{}-{}", self.id, self.receive_count)
    }
}
