//! The table, the queue, the clock and the receiver of finish callbacks, as one process of the world sees
//! them.
//!
//! The rules are those of the ports' documentation, implemented again for one record. Every effect takes a
//! random time before and after it is made. Any effect may fail, seem to fail, or be the last of its process.

use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::queue::{Delivery, Message, Queue, Receive, Unread};
use bk_plugin_core::record::{FinishCallback, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use bk_plugin_engine::{FinishCallbackClient, PostError};
use rand::RngExt as _;
use serde_json::Value;

use crate::mutation::Mutation;
use crate::releases::{read_newer, unreadable_record, write_newer};
use crate::world::{Committed, Fault, LARGEST_RECORD, RUNNERS, Shared, Stored, World, limits};

/// The ports of one process.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Table,
    Queue,
}

/// The longest time a call of a store takes, in milliseconds: clients give up before.
const SLOWEST: u64 = 30_000;
/// The longest time a process is frozen, in milliseconds.
const LONGEST_FREEZE: u64 = 200_000;
const LONGEST_DELAY: Duration = Duration::from_mins(15);

fn unavailable(why: &'static str) -> StoreError {
    StoreError::Unavailable(why.into())
}

impl Ports {
    /// Makes one effect, with its random delays and the fault drawn for it.
    async fn effect<T>(
        &self,
        store: Store,
        change: impl FnOnce(&mut World) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let process = self.process;
        let (fault, before, after) = self.shared.with(|world| {
            let fault = world.effect_fault(process);
            let latency = world.latency;
            let mut times = [0, 0].map(|_: u64| world.dice.random_range(0..=latency));
            match fault {
                Some(Fault::Slow) => {
                    let slow = world.dice.random_range(0..SLOWEST);
                    times[world.dice.random_range(0..2)] = slow;
                }
                Some(Fault::Frozen) => times[1] = world.dice.random_range(0..LONGEST_FREEZE),
                Some(Fault::ClockStep) => world.step_clock(process),
                Some(Fault::Away) => {
                    let until = world.now() + world.dice.random_range(0..100_000);
                    match store {
                        Store::Table => world.table_away_until = until,
                        Store::Queue => world.queue_away_until = until,
                    }
                }
                _ => {}
            }
            (fault, times[0], times[1])
        });
        if before > 0 {
            tokio::time::sleep(Duration::from_millis(before)).await;
        }
        let is_dead = self.shared.with(|world| world.dead[process]);
        if is_dead || fault == Some(Fault::CrashBefore) {
            self.die(is_dead).await;
        }
        let made = self.shared.with(|world| {
            let away = match store {
                Store::Table => world.table_away_until,
                Store::Queue => world.queue_away_until,
            };
            if world.now() < away || fault == Some(Fault::Fails) {
                world.note(process, |_| "  the store is away".to_owned());
                return Err(unavailable("it is away"));
            }
            let made = change(world);
            world.check_wakeable();
            made
        });
        if fault == Some(Fault::CrashAfter) {
            self.die(false).await;
        }
        if after > 0 {
            tokio::time::sleep(Duration::from_millis(after)).await;
        }
        if self.shared.with(|world| world.dead[process]) {
            self.die(true).await;
        }
        match made {
            Ok(_) if fault == Some(Fault::SeemsToFail) => Err(unavailable("it did not answer")),
            made => made,
        }
    }

    /// Kills the process, unless it is dead already, and never returns.
    async fn die(&self, is_dead: bool) {
        if !is_dead {
            self.shared.kill(self.process);
        }
        std::future::pending::<()>().await;
    }

    fn is_mutated(&self, mutation: Mutation) -> bool {
        self.shared.with(|world| world.is_mutated(mutation))
    }

    /// Sends the messages that a mutation has held back.
    async fn send_deferred(&self) -> Result<(), StoreError> {
        let deferred = self.shared.with(|world| std::mem::take(&mut world.deferred[self.process]));
        for (message, delay) in deferred {
            self.send_now(&message, delay).await?;
        }
        Ok(())
    }

    async fn send_now(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let sent = self.effect(Store::Queue, |world| {
            world.note(self.process, |world| {
                format!("sends {}, delay {} ms", world.show(message), delay.as_millis())
            });
            let visible_at = world.now() + i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            let id = world.next_message;
            world.next_message += 1;
            let newer = match message {
                Message::Unreadable(_) => message.to_body().ok(),
                readable => world.is_newer(self.process).then(|| write_newer(readable)).flatten(),
            };
            let message = newer.as_deref().and_then(read_newer).unwrap_or_else(|| message.clone());
            world.messages.push(Stored { id, message, newer, visible_at, receive_count: 0 });
            self.shared.queue().notify_waiters();
            Ok(())
        });
        sent.await
    }

    /// Receives one message, if any can be received now.
    pub(crate) async fn receive_one(&self) -> Result<Option<Delivery>, StoreError> {
        let process = self.process;
        let received = self.effect(Store::Queue, |world| {
            let now = world.now();
            let due: Vec<usize> =
                (0..world.messages.len()).filter(|at| world.messages[*at].visible_at <= now).collect();
            if due.is_empty() {
                return Ok(None);
            }
            let at = due[world.dice.random_range(0..due.len())];
            if world.fault(process, Fault::Delay) {
                world.messages[at].visible_at = now + world.dice.random_range(0..60_000);
                return Ok(None);
            }
            let hidden = i64::try_from(limits().visibility_timeout().as_millis()).unwrap_or(i64::MAX);
            let duplicate = world.fault(process, Fault::Duplicate);
            let again = if duplicate { world.dice.random_range(0..3_000) } else { hidden };
            let stored = &mut world.messages[at];
            stored.visible_at = now + again;
            stored.receive_count += 1;
            let stored = stored.clone();
            world.handling[process] = Some(stored.clone());
            let count = stored.receive_count;
            world.note(process, |world| {
                format!("receives {} for the {count}. time", world.show(&stored.message))
            });
            if world.is_mutated(Mutation::AckBeforeCommit) {
                world.messages.retain(|other| other.id != stored.id);
            }
            if world.cannot_read_record(process) {
                // It waits for the newer release, which comes back.
                world.disturb();
            }
            world.count_delivery();
            let handle = format!("{} {count}", stored.id);
            let message = match stored.newer {
                Some(body) if !world.is_newer(process) => {
                    if world.is_mutated(Mutation::UnreadableDropped) {
                        world.messages.retain(|other| other.id != stored.id);
                    }
                    as_the_older_release_reads_it(world, &body).unwrap_or(stored.message)
                }
                _ => stored.message,
            };
            Ok(Some(Delivery { handle, message, receive_count: count }))
        });
        received.await
    }

    fn size(record: &Record) -> usize {
        let json = |value: &Value| match value {
            Value::Null => 4,
            value => value.to_string().len(),
        };
        let ballast = record.storage.get("ballast").and_then(Value::as_str).map_or(0, str::len);
        let inbox: usize = record.inbox.iter().map(|entry| 100 + json(&entry.data)).sum();
        ballast + json(&record.outputs) + inbox + record.err.len() + record.consumed.len() * 34
    }

    fn check_size(record: &Record) -> Result<(), StoreError> {
        let (size, limit) = (Self::size(record), LARGEST_RECORD);
        if size > limit { Err(StoreError::TooLarge { size, limit }) } else { Ok(()) }
    }
}

fn refused(record: Option<&Record>) -> Option<Box<Record>> {
    record.map(|record| Box::new(record.clone()))
}

fn call_of(data: &Value) -> usize {
    data["call"].as_u64().and_then(|call| usize::try_from(call).ok()).unwrap_or(usize::MAX)
}

fn may_claim(world: &World, record: &Record, on: &ClaimOn, now: Timestamp) -> bool {
    let there = match on {
        ClaimOn::Step(after) => record.invoke_count == *after || world.is_mutated(Mutation::NoStepCheck),
        ClaimOn::Receipt(receipt) => record.inbox.iter().any(|entry| entry.receipt == *receipt),
    };
    let waits = match (record.state, on) {
        (State::Poll, ClaimOn::Step(_)) => true,
        (State::Callback, _) => {
            !record.inbox.is_empty() || record.deadline.is_some_and(|deadline| deadline.at <= now)
        }
        _ => false,
    };
    let timed_out = world.is_mutated(Mutation::TimeOutIgnoresStep)
        && record.state == State::Callback
        && record.deadline.is_some()
        && matches!(on, ClaimOn::Step(_));
    let leased = match &record.lease {
        None => false,
        Some(_) if world.is_mutated(Mutation::NoLeaseCheck) => false,
        Some(_) if world.is_mutated(Mutation::LeaseNeverExpires) => true,
        Some(lease) => lease.until > now,
    };
    let over = world.is_mutated(Mutation::TerminalStateOverwritten) && record.state.is_finished();
    (there && waits || timed_out || over) && !leased
}

fn as_the_older_release_reads_it(world: &World, body: &str) -> Option<Message> {
    let message = Message::parse(body).ok()?;
    let after_step = world.record.as_ref().map_or(0, |record| record.invoke_count);
    match message {
        Message::Unreadable(unreadable) if world.is_mutated(Mutation::UnreadableEndsAtOnce) => {
            Some(Message::Unreadable(unreadable.left(Unread { after_step, times: 100 })))
        }
        message => Some(message),
    }
}

/// An end because of a message that cannot be read comes after an hour of nothing else, and not if another message
/// that the older release can read would have gone on.
fn check_end_of_unreadable(world: &mut World, process: usize, record: &Record) {
    const MINUTE: i64 = 60_000;
    if !record.err.contains("cannot be read") {
        return;
    }
    let now = world.now();
    if world.committed.last().is_some_and(|before| now - before.ended_at < 50 * MINUTE) {
        world.violate("P4: what cannot be read is not left for an hour");
    }
    let handled = world.handling[process].as_ref().map(|stored| stored.id);
    let latest = world.shown(process) + Duration::ZERO;
    let receipts: Vec<_> =
        record.inbox.iter().map(|entry| &entry.receipt).chain(record.consumed.last()).collect();
    let would_wake = |stored: &Stored| match &stored.message {
        Message::WakeUp(wake_up) if stored.newer.is_none() && Some(stored.id) != handled => {
            let is_for_it = match &wake_up.receipt {
                Some(receipt) => receipts.contains(&receipt),
                None => wake_up.after_step + 1 == record.invoke_count,
            };
            // It has had ten minutes, or will come when its step is due.
            let is_new = latest.since(wake_up.due_at) < Duration::from_mins(10) && wake_up.due_at <= latest;
            is_for_it && !is_new
        }
        _ => false,
    };
    if world.messages.iter().any(would_wake) {
        world.violate("P4: it ends because of what cannot be read, and another wake-up is in the queue");
    }
}

fn committed(world: &mut World, process: usize, record: &Record, call: Option<usize>, claimed_at: i64) {
    let (state, count) = (record.state, record.invoke_count);
    world.note(process, |_| format!("  written: step {count}, {}, {}", state.name(), record.err));
    check_end_of_unreadable(world, process, record);
    world.is_newer_record = world.releases.new_records && world.is_newer(process);
    let ended_at = world.ended_at[process];
    world.committed.push(Committed {
        count,
        state,
        err: record.err.clone(),
        outputs: record.outputs.clone(),
        call,
        claimed_at,
        ended_at,
        first_ended_at: world.first_ended_at.get(&(count as usize)).copied().unwrap_or(ended_at),
    });
    if world.script.gone_before.is_some_and(|step| count as usize >= step) && !world.gone {
        world.gone = true;
        world.note(usize::MAX, |_| "the version is taken away".to_owned());
    }
}

#[async_trait]
impl Table for Ports {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        let process = self.process;
        let written = self.effect(Store::Table, |world| {
            if world.cannot_read_record(process) {
                return Err(unreadable_record());
            }
            let there = world.record.take();
            let len = there.as_ref().map_or(0, |there| there.inbox.len());
            let ignored = world.is_mutated(Mutation::InboxIgnored);
            let changed = inbox_len.is_some_and(|known| known != len) && !ignored;
            if there.as_ref().is_some_and(|there| !there.is_stub()) || changed {
                world.note(process, |_| "create: refused".to_owned());
                world.record.clone_from(&there);
                return Ok(Write::Refused(there.map(Box::new)));
            }
            world.note(process, |_| "create".to_owned());
            let mut inbox = there.as_ref().map(|there| there.inbox.clone()).unwrap_or_default();
            if world.is_mutated(Mutation::StubForgotten) {
                inbox.clear();
            }
            let record = Record { inbox, ..record.clone() };
            if let Err(error) = Self::check_size(&record) {
                world.record = there;
                return Err(error);
            }
            committed(world, process, &record, None, 0);
            world.record = Some(record);
            Ok(Write::Applied)
        });
        let written = written.await?;
        self.send_deferred().await?;
        Ok(written)
    }

    async fn claim(
        &self,
        _: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let process = self.process;
        let claimed = self.effect(Store::Table, |world| {
            if world.cannot_read_record(process) {
                world.note(process, |_| "claim: the record cannot be read".to_owned());
                return Err(unreadable_record());
            }
            let Some(mut record) = world.record.take() else {
                world.note(process, |_| "claim: there is no record".to_owned());
                return Ok(Claim::Refused(None));
            };
            let granted = may_claim(world, &record, on, now);
            if granted {
                record.lease = Some(lease.clone());
                if world.lease.is_some_and(|(_, until)| until > now) {
                    world.violate("P2: a step is begun while another runner's lease on it lives");
                }
                world.lease = Some((process, lease.until));
                if lease.token.is_alone() {
                    *world.begun_alone.entry(record.invoke_count + 1).or_default() += 1;
                }
                world.claimed_at[process] = world.now();
                world.ended_at[process] = world.now();
            }
            let (count, state, inbox) = (record.invoke_count, record.state.name(), record.inbox.len());
            let said = if granted { "claim: granted" } else { "claim: refused" };
            world.note(process, |_| format!("{said} ({count} steps, {state}, {inbox} in the inbox)"));
            world.record = Some(record.clone());
            Ok(if granted {
                Claim::Granted(Box::new(record))
            } else {
                Claim::Refused(Some(Box::new(record)))
            })
        });
        claimed.await
    }

    async fn commit(&self, _: &TraceId, token: &LeaseToken, commit: &Commit) -> Result<Write, StoreError> {
        let process = self.process;
        if commit.owed && self.is_mutated(Mutation::FinishBeforeCommit) {
            let finish_callback = FinishCallback { url: String::new(), data: serde_json::Map::default() };
            // The answer is ignored.
            let _ = self.post(&finish_callback, &Caller::default()).await;
        }
        let written = self.effect(Store::Table, |world| {
            if world.cannot_read_record(process) {
                return Err(unreadable_record());
            }
            let Some(record) = world.record.clone() else { return Ok(Write::Refused(None)) };
            let held = record.lease.as_ref().is_some_and(|lease| lease.token == *token);
            let finished = record.state.is_finished();
            let may = held
                || world.is_mutated(Mutation::CommitIgnoresLease) && !finished
                || world.is_mutated(Mutation::TerminalStateOverwritten) && finished;
            let changed = commit.inbox_len.is_some_and(|known| known != record.inbox.len())
                && !world.is_mutated(Mutation::InboxIgnored);
            if !may || changed {
                let why = if may { "the inbox has changed" } else { "the lease is lost" };
                world.note(process, |_| format!("commit: refused, {why}"));
                return Ok(Write::Refused(refused(Some(&record))));
            }
            let mut written = Record {
                state: commit.state,
                invoke_count: commit.invoke_count,
                err: commit.err.clone(),
                deadline: commit.deadline,
                owed: commit.owed,
                finish_at: commit.finish_at,
                lease: None,
                ..record
            };
            if let Some(storage) = &commit.storage {
                written.storage.clone_from(storage);
            }
            if let Some(outputs) = &commit.outputs {
                written.outputs.clone_from(outputs);
            }
            let mut call = None;
            if commit.consume && !written.inbox.is_empty() {
                call = Some(call_of(&written.inbox[0].data));
                if !world.is_mutated(Mutation::CallbackNotConsumed) {
                    written.consumed.push(written.inbox.remove(0).receipt);
                    let surplus = written.consumed.len().saturating_sub(Record::CONSUMED_KEPT);
                    written.consumed.drain(..surplus);
                }
            }
            // As the port demands, a commit without storage and outputs is never too large: an end must
            // always fit.
            let grows = commit.storage.is_some() || commit.outputs.is_some();
            if let Some(error) = Self::check_size(&written).err().filter(|_| grows) {
                world.note(process, |_| "commit: too large".to_owned());
                return Err(error);
            }
            world.note(process, |_| "commit".to_owned());
            world.lease = None;
            let claimed_at = world.claimed_at[process];
            committed(world, process, &written, call, claimed_at);
            world.record = Some(written);
            Ok(Write::Applied)
        });
        let written = written.await?;
        self.send_deferred().await?;
        Ok(written)
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        let process = self.process;
        let call = call_of(&append.entry.data);
        let written = self.effect(Store::Table, |world| {
            if world.cannot_read_record(process) {
                return Err(unreadable_record());
            }
            let receipt = world.ordinal(&append.entry.receipt);
            let mut record = match (&world.record, append.stub) {
                (Some(record), _) if record.state.is_finished() => {
                    let refused = refused(Some(record));
                    world.note(process, |_| format!("append of receipt {receipt}: refused, it is over"));
                    return Ok(Write::Refused(refused));
                }
                (Some(record), _) => record.clone(),
                (None, Some((created_at, _))) => Record::stub(trace_id.clone(), created_at),
                (None, None) => return Ok(Write::Refused(None)),
            };
            let known = record.consumed.contains(&append.entry.receipt)
                || record.inbox.iter().any(|entry| entry.receipt == append.entry.receipt);
            let dropped = world.is_mutated(Mutation::CallbackDroppedWhileStepRuns) && record.lease.is_some();
            if known || dropped {
                return Ok(Write::Applied);
            }
            if world.is_mutated(Mutation::LatestCallbackFirst) {
                record.inbox.insert(0, append.entry.clone());
            } else {
                record.inbox.push(append.entry.clone());
            }
            Self::check_size(&record)?;
            world.note(process, |_| format!("append of receipt {receipt}: call {call}"));
            world.record = Some(record);
            world.appended.push(call);
            let now = world.now();
            if let Some(call) = world.calls.get_mut(call) {
                call.appended_at = Some(now);
            }
            Ok(Write::Applied)
        });
        let written = written.await;
        if self.is_mutated(Mutation::AnswerBeforeAppend) && matches!(written, Err(StoreError::Unavailable(_)))
        {
            return Ok(Write::Applied);
        }
        let written = written?;
        self.send_deferred().await?;
        Ok(written)
    }

    async fn settle(&self, _: &TraceId) -> Result<(), StoreError> {
        let settled = self.effect(Store::Table, |world| {
            if world.cannot_read_record(self.process) {
                return Err(unreadable_record());
            }
            world.note(self.process, |_| "settle".to_owned());
            if let Some(record) = &mut world.record {
                record.owed = false;
            }
            Ok(())
        });
        settled.await
    }

    async fn read(&self, _: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let read = self.effect(Store::Table, |world| {
            if world.cannot_read_record(self.process) {
                return Err(unreadable_record());
            }
            let mut read = refused(world.record.as_ref());
            if world.is_mutated(Mutation::ReceiptProves)
                && let (Some(record), Some(token)) = (&mut read, world.token_handled(self.process))
            {
                record.lease = Some(Lease { token, until: Timestamp::from_millis(0) });
            }
            Ok(read)
        });
        read.await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Queue for Ports {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let process = self.process;
        let kept_back = self.shared.with(|world| {
            let is_finish = matches!(message, Message::Finish(_));
            let (after_step, receipt, put_backs) = match message {
                Message::WakeUp(wake_up) => {
                    (wake_up.after_step, wake_up.receipt.is_some(), wake_up.put_backs)
                }
                Message::Finish(_) | Message::Unreadable(_) => (0, false, 0),
            };
            let attempt = |message: &Message| match message {
                Message::Finish(finish) => Some(finish.attempt),
                Message::WakeUp(_) | Message::Unreadable(_) => None,
            };
            let handled_attempt =
                world.handling[process].as_ref().and_then(|stored| attempt(&stored.message));
            let handled = match &world.handling[process] {
                Some(Stored { message: Message::WakeUp(wake_up), .. }) if process < RUNNERS => Some(wake_up),
                _ => None,
            };
            let is_sent_on = handled.is_some_and(|wake_up| {
                !is_finish
                    && wake_up.after_step == after_step
                    && wake_up.receipt.is_some() == receipt
                    && wake_up.put_backs == put_backs
            });
            let is_put_back = put_backs > 0;
            let is_left = matches!(message, Message::Unreadable(_));
            let follows = !is_finish && !is_put_back && !is_sent_on && !is_left;
            match world.options.mutation {
                Some(Mutation::CommitBeforeSend) if follows && !receipt => {
                    world.deferred[process].push((message.clone(), delay));
                    true
                }
                Some(Mutation::AppendBeforeSend) if follows && receipt => {
                    world.deferred[process].push((message.clone(), delay));
                    true
                }
                Some(Mutation::CommitBeforeFinish) if is_finish && handled.is_some() => {
                    world.deferred[process].push((message.clone(), delay));
                    true
                }
                Some(Mutation::EarlyFinishDropped) => is_finish && handled_attempt == attempt(message),
                Some(Mutation::ClockSkewIgnored) => is_sent_on && delay < Duration::from_secs(6),
                Some(Mutation::DropOnLease) => {
                    is_put_back && world.record.as_ref().is_some_and(|record| record.lease.is_some())
                }
                _ => false,
            }
        });
        if kept_back {
            return Ok(());
        }
        if let Message::WakeUp(wake_up) = message
            && wake_up.put_backs > 0
            && self.is_mutated(Mutation::PutBackWithoutBound)
        {
            let mut young = wake_up.clone();
            young.due_at = self.now();
            return self.send_now(&Message::WakeUp(young), delay).await;
        }
        self.send_now(message, delay).await
    }

    async fn receive_selected(&self, _: Receive<'_>) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.receive_one().await?.into_iter().collect())
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        let process = self.process;
        let deleted = self.effect(Store::Queue, |world| {
            world.handling[process] = None;
            let old_handles_work = world.old_handles_work;
            let named = |stored: &Stored| {
                handle == format!("{} {}", stored.id, stored.receive_count)
                    || old_handles_work && handle.starts_with(&format!("{} ", stored.id))
            };
            let Some(at) = world.messages.iter().position(named) else { return Ok(()) };
            world.note(process, |_| "deletes the message".to_owned());
            if world.fault(process, Fault::Repeat) {
                world.messages[at].visible_at = world.now() + world.dice.random_range(0..200_000);
                self.shared.queue().notify_waiters();
            } else {
                world.messages.remove(at);
            }
            Ok(())
        });
        deleted.await
    }

    fn longest_delay(&self) -> Duration {
        LONGEST_DELAY
    }
}

#[async_trait]
impl Clock for Ports {
    fn now(&self) -> Timestamp {
        self.shared.with(|world| world.shown(self.process))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[async_trait]
impl FinishCallbackClient for Ports {
    async fn post(&self, _: &FinishCallback, _: &Caller) -> Result<(), PostError> {
        let process = self.process;
        let latency = self.shared.with(|world| world.dice.random_range(0..=world.latency));
        tokio::time::sleep(Duration::from_millis(latency)).await;
        if self.shared.with(|world| world.dead[process]) {
            self.die(true).await;
        }
        let taken = self.shared.with(|world| {
            if !world.record.as_ref().is_some_and(|record| record.state.is_finished()) {
                world.violate("P5: the finish callback is posted before the end can be read");
            }
            world.posts += 1;
            let taken = !world.fault(process, Fault::PostFails);
            world.posts_taken += u32::from(taken);
            world.note(process, |_| format!("posts the finish callback: taken {taken}"));
            taken
        });
        if self.shared.with(|world| world.fault(process, Fault::CrashAfter)) {
            self.die(false).await;
        }
        if taken || self.is_mutated(Mutation::FinishNotRetried) {
            Ok(())
        } else {
            Err(PostError("500".to_owned()))
        }
    }
}
