//! A standard queue: its messages, which of them can be received, and what a receipt handle can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::Timestamp;

use super::error::{self, Error};
use super::message::Message;

/// Messages in flight from which on a group can be noisy.
const NOISY: usize = 30;

/// The settings that a queue was created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) visibility_timeout: Duration,
    pub(crate) delay: Duration,
    pub(crate) retention: Duration,
    pub(crate) wait: Duration,
    pub(crate) redrive: Option<Redrive>,
    pub(crate) old_handles_delete: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_secs(30),
            delay: Duration::ZERO,
            retention: Duration::from_hours(4 * 24),
            wait: Duration::ZERO,
            redrive: None,
            old_handles_delete: false,
        }
    }
}

/// The queue for messages that have been received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redrive {
    pub(crate) dead_letter_queue: String,
    pub(crate) max_receive_count: u32,
}

/// A message in a queue.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) message: Arc<Message>,
    pub(crate) sent_at: Timestamp,
    pub(crate) visible_at: Timestamp,
    /// For a dead letter, this includes deliveries from its former queue.
    pub(crate) receive_count: u32,
    pub(crate) first_received_at: Option<Timestamp>,
    /// The former queue of a dead letter.
    pub(crate) dead_letter_of: Option<String>,
    /// Sent and not received since.
    is_new: bool,
    /// A copy, made because the message is to be delivered twice.
    is_duplicate: bool,
}

impl Stored {
    pub(crate) fn new(id: String, message: Message, sent_at: Timestamp, visible_at: Timestamp) -> Self {
        Self {
            id,
            message: Arc::new(message),
            sent_at,
            visible_at,
            receive_count: 0,
            first_received_at: None,
            dead_letter_of: None,
            is_new: true,
            is_duplicate: false,
        }
    }

    pub(crate) fn into_dead_letter(self, of: String, now: Timestamp) -> Self {
        Self { visible_at: now, dead_letter_of: Some(of), ..self }
    }
}

/// A message as it is received.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) stored: Stored,
    pub(crate) handle: String,
}

/// Identifies one delivery of a message. It is opaque to clients.
#[derive(Clone, Copy)]
struct Handle {
    key: u64,
    receive_count: u32,
}

impl Handle {
    fn parse(handle: &str) -> Result<Self, Error> {
        let parse = |handle: &str| {
            let (key, receive_count) = handle.split_once('-')?;
            Some(Self { key: key.parse().ok()?, receive_count: receive_count.parse().ok()? })
        };
        parse(handle).ok_or_else(|| {
            let text = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
            Error::new(error::RECEIPT_HANDLE_IS_INVALID, text)
        })
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.key, self.receive_count)
    }
}

/// The number of messages in each state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) visible: usize,
    pub(crate) not_visible: usize,
    pub(crate) delayed: usize,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) settings: Settings,
    pub(crate) created_at: Timestamp,
    /// The messages by key; a key is unique across all queues.
    messages: BTreeMap<u64, Stored>,
    /// Number of deliveries that are still to be made twice.
    duplicates: usize,
    purged_at: Option<Timestamp>,
}

impl Queue {
    pub(crate) fn new(settings: Settings, created_at: Timestamp) -> Self {
        Self { settings, created_at, messages: BTreeMap::new(), duplicates: 0, purged_at: None }
    }

    pub(crate) fn put(&mut self, key: u64, stored: Stored) {
        self.messages.insert(key, stored);
    }

    pub(crate) fn deliver_twice(&mut self, deliveries: usize) {
        self.duplicates += deliveries;
    }

    /// Deletes the messages that are older than the queue's retention period.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let retention = self.settings.retention;
        self.messages.retain(|_, stored| stored.sent_at + retention > now);
    }

    /// Takes up to `max` messages that can be received, those of quiet groups first, and hides them from now on. Also removes and returns
    /// all dead letters that are due. `next_key` gives the keys of copies that are to be delivered a second
    /// time.
    pub(crate) fn take(
        &mut self,
        max: usize,
        visibility_timeout: Duration,
        now: Timestamp,
        mut next_key: impl FnMut() -> u64,
    ) -> (Vec<Delivery>, Vec<Stored>) {
        let max_receive_count = self.settings.redrive.as_ref().map(|redrive| redrive.max_receive_count);
        let is_dead = |stored: &Stored| max_receive_count.is_some_and(|max| stored.receive_count >= max);
        let due = |stored: &Stored| stored.visible_at <= now;
        let dead: Vec<u64> = self
            .messages
            .iter()
            .filter(|(_, stored)| due(stored) && is_dead(stored))
            .map(|(key, _)| *key)
            .collect();
        let dead = dead.into_iter().filter_map(|key| self.messages.remove(&key)).collect();

        let noisy = self.noisy_groups(now);
        let is_noisy =
            |stored: &Stored| stored.message.group.as_ref().is_some_and(|group| noisy.contains(group));
        let mut receivable: Vec<_> = self.messages.iter_mut().filter(|(_, stored)| due(stored)).collect();
        receivable.sort_by_key(|(_, stored)| is_noisy(stored));
        let mut deliveries = Vec::new();
        let mut duplicates = Vec::new();
        for (key, stored) in receivable.into_iter().take(max) {
            if self.duplicates > 0 && !stored.is_duplicate {
                self.duplicates -= 1;
                duplicates.push(Stored { is_duplicate: true, ..stored.clone() });
            }
            stored.receive_count += 1;
            stored.visible_at = now + visibility_timeout;
            stored.first_received_at.get_or_insert(now);
            stored.is_new = false;
            let handle = Handle { key: *key, receive_count: stored.receive_count };
            deliveries.push(Delivery { stored: stored.clone(), handle: handle.to_string() });
        }
        for duplicate in duplicates {
            self.messages.insert(next_key(), duplicate);
        }
        (deliveries, dead)
    }

    /// The groups that SQS makes wait for others: those that have more than a tenth of what is in flight, and at least 30
    /// messages. (SQS also looks at how long messages take, and its numbers are approximate.)
    fn noisy_groups(&self, now: Timestamp) -> BTreeSet<String> {
        let in_flight = self.messages.values().filter(|stored| !stored.is_new && stored.visible_at > now);
        let (mut total, mut by_group) = (0, BTreeMap::<&String, usize>::new());
        for stored in in_flight {
            total += 1;
            if let Some(group) = &stored.message.group {
                *by_group.entry(group).or_default() += 1;
            }
        }
        let noisy = by_group.into_iter().filter(|(_, count)| *count >= NOISY && count * 10 > total);
        noisy.map(|(group, _)| group.clone()).collect()
    }

    /// Deletes a message by the handle of its last delivery. The handle of an earlier delivery may delete
    /// nothing, which is not an error.
    pub(crate) fn delete(&mut self, handle: &str) -> Result<(), Error> {
        let handle = Handle::parse(handle)?;
        let is_last =
            self.messages.get(&handle.key).is_some_and(|stored| stored.receive_count == handle.receive_count);
        if is_last || self.settings.old_handles_delete {
            self.messages.remove(&handle.key);
        }
        Ok(())
    }

    /// Hides a received message for the given time from now on.
    pub(crate) fn change_visibility(
        &mut self,
        handle: &str,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Handle { key, receive_count } = Handle::parse(handle)?;
        let stored = self.messages.get_mut(&key).filter(|stored| stored.receive_count == receive_count);
        let Some(stored) = stored else {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            return Err(Error::invalid(handle, "ReceiptHandle", reason));
        };
        if stored.visible_at <= now {
            return Err(Error::new(error::MESSAGE_NOT_INFLIGHT, "The specified message isn't in flight."));
        }
        stored.visible_at = now + timeout;
        Ok(())
    }

    /// Deletes all messages; at most once a minute.
    pub(crate) fn purge(&mut self, now: Timestamp) -> Result<(), Error> {
        if self.purged_at.is_some_and(|at| now.since(at) < Duration::from_mins(1)) {
            let text = "Only one PurgeQueue operation is allowed every 60 seconds.";
            return Err(Error::new(error::PURGE_QUEUE_IN_PROGRESS, text));
        }
        self.purged_at = Some(now);
        self.messages.clear();
        Ok(())
    }

    /// When the next message can be received.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.messages.values().map(|stored| stored.visible_at).min()
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = &Stored> {
        self.messages.values()
    }

    pub(crate) fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        for stored in self.messages.values() {
            match (stored.visible_at <= now, stored.is_new) {
                (true, _) => counts.visible += 1,
                (false, true) => counts.delayed += 1,
                (false, false) => counts.not_visible += 1,
            }
        }
        counts
    }
}
