//! The table, the queue, the clock and the receiver of finish callbacks, as one process of the world sees
//! them.
//!
//! The rules are those of the ports' documentation, implemented again for one record. Every effect takes a
//! random time before and after it is made. Any effect may fail, seem to fail, or be the last of its process.

mod table;

use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::queue::{Delivery, Message, Queue, Receive, Unread};
use bk_plugin_core::record::{FinishCallback, Record};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_engine::{FinishCallbackClient, PostError};
use rand::RngExt as _;
use serde_json::Value;

use crate::mutation::Mutation;
use crate::releases::{read_newer, write_newer};
use crate::world::{Fault, LARGEST_RECORD, RUNNERS, Shared, Stored, World, limits};

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
