use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::ids::{LeaseToken, TraceId};
use crate::message_group::MessageGroup;
use crate::queue::{Delivery, Message, Queue, Receive, Selection};
use crate::record::{Lease, Record, State};
use crate::store_error::StoreError;
use crate::table::{Append, Claim, ClaimOn, Commit, Table, Write};

/// A table and a queue in memory, with the semantics of the real ones.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    visibility_timeout: Duration,
    longest_delay: Duration,
    largest_record: usize,
    state: Mutex<Store>,
    sent: Notify,
}

#[derive(Default)]
struct Store {
    records: BTreeMap<TraceId, Record>,
    messages: BTreeMap<u64, Stored>,
    next_id: u64,
}

#[derive(Clone)]
struct Stored {
    message: Message,
    visible_at: Timestamp,
    receive_count: u32,
}

impl Stored {
    fn is_in(&self, selection: &Selection) -> bool {
        selection.takes(self.message.kind(), self.message.group())
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>, visibility_timeout: Duration) -> Self {
        Self {
            clock,
            visibility_timeout,
            longest_delay: Duration::from_mins(15),
            largest_record: 400 * 1024,
            state: Mutex::default(),
            sent: Notify::new(),
        }
    }

    /// With a longest delay other than that of SQS, which is 15 minutes.
    #[must_use]
    pub fn with_longest_delay(self, longest_delay: Duration) -> Self {
        Self { longest_delay, ..self }
    }

    /// Time until a message can be received; `None` if the queue is empty.
    pub fn next_due(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.lock().messages.values().map(|stored| stored.visible_at.since(now)).min()
    }

    /// All messages in the queue, whether they can be received or not.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.values().map(|stored| stored.message.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hides and returns up to `max` selected messages that are due; and when the next one becomes visible.
    fn take(&self, max: usize, selection: &Selection, now: Timestamp) -> (Vec<Delivery>, Option<Timestamp>) {
        let mut store = self.lock();
        let selected = store.messages.iter_mut().filter(|(_, stored)| stored.is_in(selection));
        let due = selected.filter(|(_, stored)| stored.visible_at <= now).take(max);
        let deliveries = due
            .map(|(id, stored)| {
                stored.receive_count += 1;
                stored.visible_at = now + self.visibility_timeout;
                Delivery {
                    message: stored.message.clone(),
                    handle: format!("{id}-{}", stored.receive_count),
                    receive_count: stored.receive_count,
                }
            })
            .collect();
        let selected = store.messages.values().filter(|stored| stored.is_in(selection));
        (deliveries, selected.map(|stored| stored.visible_at).min())
    }

    fn check_size(&self, record: &Record) -> Result<(), StoreError> {
        let size = serde_json::to_vec(record).map_or(0, |json| json.len());
        let limit = self.largest_record;
        if size > limit { Err(StoreError::TooLarge { size, limit }) } else { Ok(()) }
    }
}

fn refused(record: Option<&Record>) -> Option<Box<Record>> {
    record.map(|record| Box::new(record.clone()))
}

fn may_claim(record: &Record, on: &ClaimOn, now: Timestamp) -> bool {
    let there = match on {
        ClaimOn::Step(after) => record.invoke_count == *after,
        ClaimOn::Receipt(receipt) => record.inbox.iter().any(|entry| entry.receipt == *receipt),
    };
    let waits = match record.state {
        State::Poll => matches!(on, ClaimOn::Step(_)),
        State::Callback => record.is_called_or_timed_out(now),
        State::Empty | State::Success | State::Fail => false,
    };
    there && waits && !record.is_leased(now)
}

#[async_trait]
impl Table for MemoryStore {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        let mut store = self.lock();
        let there = store.records.get(&record.trace_id);
        let len = there.map_or(0, |there| there.inbox.len());
        if there.is_some_and(|there| !there.is_stub()) || inbox_len.is_some_and(|known| known != len) {
            return Ok(Write::Refused(refused(there)));
        }
        let inbox = there.map(|there| there.inbox.clone()).unwrap_or_default();
        let record = Record { inbox, ..record.clone() };
        self.check_size(&record)?;
        store.records.insert(record.trace_id.clone(), record);
        Ok(Write::Applied)
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let mut store = self.lock();
        match store.records.get_mut(trace_id) {
            Some(record) if may_claim(record, on, now) => {
                record.lease = Some(lease.clone());
                Ok(Claim::Granted(Box::new(record.clone())))
            }
            record => Ok(Claim::Refused(refused(record.as_deref()))),
        }
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        let mut store = self.lock();
        let Some(record) = store.records.get_mut(trace_id) else { return Ok(Write::Refused(None)) };
        let holds = record.lease.as_ref().is_some_and(|lease| lease.token == *token);
        let fits = commit.inbox_len.is_none_or(|known| known == record.inbox.len());
        if !holds || !fits || (commit.consume && record.inbox.is_empty()) {
            return Ok(Write::Refused(refused(Some(record))));
        }
        let mut written = Record {
            state: commit.state,
            invoke_count: commit.invoke_count,
            err: commit.err.clone(),
            deadline: commit.deadline,
            owed: commit.owed,
            finish_at: commit.finish_at,
            lease: None,
            ..record.clone()
        };
        if let Some(storage) = &commit.storage {
            written.storage.clone_from(storage);
        }
        if let Some(outputs) = &commit.outputs {
            written.outputs.clone_from(outputs);
        }
        if commit.consume {
            written.consumed.push(written.inbox.remove(0).receipt);
            let surplus = written.consumed.len().saturating_sub(Record::CONSUMED_KEPT);
            written.consumed.drain(..surplus);
        }
        if commit.storage.is_some() || commit.outputs.is_some() {
            self.check_size(&written)?;
        }
        *record = written;
        Ok(Write::Applied)
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        let mut store = self.lock();
        let mut record = match (store.records.get(trace_id), append.stub) {
            (Some(record), _) => record.clone(),
            (None, Some((created_at, _))) => Record::stub(trace_id.clone(), created_at),
            (None, None) => return Ok(Write::Refused(None)),
        };
        let receipt = &append.entry.receipt;
        if record.consumed.contains(receipt) || record.inbox.iter().any(|entry| entry.receipt == *receipt) {
            return Ok(Write::Applied);
        }
        if record.state.is_finished() {
            return Ok(Write::Refused(refused(Some(&record))));
        }
        if record.inbox.len() >= Record::LARGEST_INBOX {
            return Err(StoreError::InboxFull { limit: Record::LARGEST_INBOX });
        }
        record.inbox.push(append.entry.clone());
        self.check_size(&record)?;
        store.records.insert(trace_id.clone(), record);
        Ok(Write::Applied)
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        if let Some(record) = self.lock().records.get_mut(trace_id) {
            record.owed = false;
        }
        Ok(())
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        Ok(refused(self.lock().records.get(trace_id)))
    }

    async fn group_of(&self, trace_id: &TraceId) -> Option<MessageGroup> {
        self.lock().records.get(trace_id).and_then(Record::group)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Queue for MemoryStore {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let mut store = self.lock();
        let id = store.next_id;
        store.next_id += 1;
        let visible_at = self.clock.now() + delay;
        store.messages.insert(id, Stored { message: message.clone(), visible_at, receive_count: 0 });
        self.sent.notify_waiters();
        Ok(())
    }

    async fn receive_selected(&self, receive: Receive<'_>) -> Result<Vec<Delivery>, StoreError> {
        let until = self.clock.now() + receive.wait;
        loop {
            // Subscribed before looking, so that no message sent meanwhile is missed.
            let sent = self.sent.notified();
            let now = self.clock.now();
            let (deliveries, next_due) = self.take(receive.max, &receive.selection, now);
            if !deliveries.is_empty() || now >= until {
                return Ok(deliveries);
            }
            let wake_at = next_due.map_or(until, |due| due.min(until));
            tokio::select! {
                () = sent => {}
                () = receive.ended() => return Ok(Vec::new()),
                () = self.clock.sleep(wake_at.since(now)) => {}
            }
        }
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        let mut store = self.lock();
        let named = |id: u64, stored: &Stored| handle == format!("{id}-{}", stored.receive_count);
        store.messages.retain(|id, stored| !named(*id, stored));
        Ok(())
    }

    fn longest_delay(&self) -> Duration {
        self.longest_delay
    }
}
