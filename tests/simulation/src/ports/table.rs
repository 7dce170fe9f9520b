//! The table of a simulated process: each rule of the port, and the mutations of those rules.

use crate::mutation::Mutation;
use crate::releases::unreadable_record;
use crate::world::{Committed, Stored, World};
use async_trait::async_trait;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::queue::Message;
use bk_plugin_core::record::{FinishCallback, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use bk_plugin_engine::FinishCallbackClient as _;
use serde_json::Value;
use std::time::Duration;

use super::{Ports, Store};

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
