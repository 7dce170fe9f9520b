//! A wake-up: claim -> execute -> send -> commit, and what is done when the claim is refused.

use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::WakeUp;
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Claim, ClaimOn, Commit, Write};

use super::requeue::OUTAGE;
use super::step::StepResult;
use super::{EngineCall, Handled};
use crate::author_threads::Owner;
use crate::metrics::begun_late;

impl EngineCall<'_> {
    /// Runs the step a wake-up asks for.
    pub(super) async fn wake_up(&mut self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        if wake_up.due_at > now {
            return self.forward_hop(wake_up, now).await;
        }
        if let Some(not_now) = self.not_here(wake_up, now).await? {
            return Ok(not_now);
        }
        if let Some(token) = &wake_up.alone {
            return self.wake_up_alone(wake_up, token).await;
        }
        if wake_up.crashes >= self.limits().max_receive_count {
            return Ok(self.run_alone_later(wake_up, wake_up.crashes).await);
        }
        let entered = self.gate().enter().await;
        let now = self.clock().now();
        let lease = self.new_lease(now);
        let mut record = match self.claim(wake_up, &lease, now).await? {
            Claim::Granted(record) => record,
            Claim::Refused(record) => return self.on_claim_refused(wake_up, record.as_deref(), now).await,
        };
        let Some(running) = self.engine.under_way.begin(&record.trace_id) else {
            return self.put_back(wake_up, lease.until.since(now)).await;
        };
        begun_late(&record.plugin_version, now.since(wake_up.due_at));
        self.context.enter_invocation(&record.trace);
        match self.run_claimed(&mut record, (running, entered)).await {
            Ok(ended) => self.send_and_commit(wake_up, ended, &record, &lease).await,
            Err(not_started) => {
                tracing::warn!("wake-up put back: {not_started}");
                self.give_back(wake_up, &record, &lease).await
            }
        }
    }

    /// Gives the lease of a step back that was not started, and puts its wake-up back.
    pub(super) async fn give_back(
        &self,
        wake_up: &WakeUp,
        record: &Record,
        lease: &Lease,
    ) -> Result<Handled, StoreError> {
        // Writes the record as it is, without the lease.
        let unchanged = Commit {
            state: record.state,
            invoke_count: record.invoke_count,
            storage: None,
            outputs: None,
            err: record.err.clone(),
            deadline: record.deadline,
            consume: false,
            owed: record.owed,
            finish_at: None,
            expires_at: None,
            inbox_len: None,
        };
        let delay = match self.table().commit(&record.trace_id, &lease.token, &unchanged).await {
            Ok(_) => OUTAGE.delay(wake_up.put_backs),
            Err(_) => lease.until.since(self.clock().now()),
        };
        self.put_back(wake_up, delay).await
    }

    /// Puts a wake-up back, for this process or another, if its step must not be started here now: because this process
    /// runs a step of the invocation still, or runs no more code of its version.
    async fn not_here(&self, wake_up: &WakeUp, now: Timestamp) -> Result<Option<Handled>, StoreError> {
        let is_running = self.engine.under_way.contains(&wake_up.trace_id);
        let refuses = self.engine.author_threads().is_some_and(|threads| threads.refused().is_some());
        if !is_running && !refuses {
            return Ok(None);
        }
        let record = self.table().read(&wake_up.trace_id).await?;
        let not_here = is_running || record.as_ref().is_some_and(|record| self.refuses(record));
        Ok(match ClaimRefused::of(wake_up, record.as_deref(), now) {
            // What this means where the step is not running: the claim could be granted.
            ClaimRefused::NothingToRun | ClaimRefused::NotWrittenYet if not_here => {
                tracing::debug!(trace_id = %wake_up.trace_id, "wake-up put back: not to be run here now");
                Some(self.put_back(wake_up, OUTAGE.delay(wake_up.put_backs)).await?)
            }
            _ if not_here => Some(self.on_claim_refused(wake_up, record.as_deref(), now).await?),
            _ => None,
        })
    }

    /// Whether this process runs no more code of the record's version.
    fn refuses(&self, record: &Record) -> bool {
        let version = self.engine.registry().version(&record.plugin_version);
        let threads = self.engine.author_threads();
        let refused = version
            .zip(threads)
            .and_then(|(version, threads)| threads.refuses(Owner::Version(version.meta().version)));
        refused.is_some()
    }

    pub(super) async fn claim(
        &self,
        wake_up: &WakeUp,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let on = match &wake_up.receipt {
            Some(receipt) => ClaimOn::Receipt(receipt.clone()),
            None => ClaimOn::Step(wake_up.after_step),
        };
        self.table().claim(&wake_up.trace_id, &on, lease, now).await
    }

    /// Sends the wake-up that must follow, then commits. A process that dies in between has left a wake-up.
    pub(super) async fn send_and_commit(
        &self,
        wake_up: &WakeUp,
        ended: StepResult,
        record: &Record,
        lease: &Lease,
    ) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        let mut commit = self.commit_of(ended, record, now);
        if let Some(deadline) = commit.deadline {
            self.follow_up(&commit, record, deadline.at, lease).await?;
        }
        if commit.state == State::Callback && record.inbox.len() > usize::from(commit.consume) {
            self.follow_up(&commit, record, now, lease).await?;
        }
        let mut is_finish_sent = false;
        loop {
            if commit.owed && !std::mem::replace(&mut is_finish_sent, true) {
                self.send_finish(record, commit.finish_at, self.retry_deadline_under(lease)).await?;
            }
            match self.commit(record, lease, &commit).await {
                Ok(Write::Applied) => break,
                // A callback came while the step ran. Its own wake-up may have found the record in POLL and have been
                // dropped, so this commit must send another one.
                Ok(Write::Refused(Some(now_is)))
                    if has_lease(&now_is, lease) && commit.inbox_len.is_some() =>
                {
                    self.follow_up(&commit, record, now, lease).await?;
                    commit.inbox_len = Some(now_is.inbox.len());
                }
                // Written already: by an earlier attempt that was reported as failed, or by another runner.
                Ok(Write::Refused(Some(now_is))) if now_is.invoke_count >= commit.invoke_count => {
                    return self.on_claim_refused(wake_up, Some(&now_is), self.clock().now()).await;
                }
                // The lease was lost: another runner runs this step. The wake-up is redelivered, and then shows what
                // became of the step.
                Ok(Write::Refused(_)) => {
                    tracing::warn!(trace_id = %record.trace_id, "the lease was lost, the step's result is dropped");
                    return Ok(Handled::Leave);
                }
                Err(error @ StoreError::TooLarge { .. })
                    if commit.storage.is_some() || commit.outputs.is_some() =>
                {
                    commit = self.commit_of(ended_by_size(&commit.err, &error), record, now);
                }
                Err(error) => return Err(error),
            }
        }
        tracing::debug!(trace_id = %record.trace_id, state = commit.state.name(), "committed");
        Ok(Handled::Delete)
    }

    async fn commit(&self, record: &Record, lease: &Lease, commit: &Commit) -> Result<Write, StoreError> {
        let until = self.retry_deadline_under(lease);
        self.retry_until(until, || self.table().commit(&record.trace_id, &lease.token, commit)).await
    }

    /// Sends the wake-up for the step after the one about to be committed.
    async fn follow_up(
        &self,
        commit: &Commit,
        record: &Record,
        due_at: Timestamp,
        lease: &Lease,
    ) -> Result<(), StoreError> {
        let wake_up = WakeUp::for_step(record.trace_id.clone(), commit.invoke_count, due_at);
        let wake_up = WakeUp { group: record.group(), ..wake_up };
        self.send_wake_up(wake_up, self.retry_deadline_under(lease)).await
    }

    /// Drops the wake-up or puts it back, by what kept its record from being claimed.
    pub(super) async fn on_claim_refused(
        &self,
        wake_up: &WakeUp,
        record: Option<&Record>,
        now: Timestamp,
    ) -> Result<Handled, StoreError> {
        match ClaimRefused::of(wake_up, record, now) {
            ClaimRefused::Finished
            | ClaimRefused::AlreadyDone
            | ClaimRefused::SeenByNextCommit
            | ClaimRefused::NothingToRun => Ok(Handled::Delete),
            ClaimRefused::Leased { until, alone: true } if wake_up.alone.is_none() => {
                // Another wake-up for this step was singled out. Beside others this one would take its proof away.
                let wake_up = self.singled_out(wake_up.clone(), u32::MAX);
                self.put_back(&wake_up, until.since(now)).await
            }
            ClaimRefused::Leased { until, .. } => self.put_back(wake_up, until.since(now)).await,
            ClaimRefused::NotWrittenYet if now < wake_up.due_at + self.limits().put_back_limit() => {
                self.put_back(wake_up, NOT_WRITTEN_YET.delay(wake_up.put_backs)).await
            }
            ClaimRefused::NotWrittenYet => {
                tracing::debug!(trace_id = %wake_up.trace_id, "wake-up dropped: what it waits for never came");
                Ok(Handled::Delete)
            }
        }
    }

    /// Forwards a wake-up that is not due: a hop of a wait longer than the queue's longest delay.
    pub(super) async fn forward_hop(&self, wake_up: &WakeUp, now: Timestamp) -> Result<Handled, StoreError> {
        let record = self.table().read(&wake_up.trace_id).await?;
        match ClaimRefused::of(wake_up, record.as_deref(), now) {
            ClaimRefused::Finished | ClaimRefused::AlreadyDone => {
                self.on_claim_refused(wake_up, record.as_deref(), now).await
            }
            _ => {
                tracing::debug!(trace_id = %wake_up.trace_id, "not due yet, sent on");
                // No step was started, so none can have crashed its process.
                let sent_on = WakeUp { crashes: 0, alone: None, ..wake_up.clone() };
                self.send_wake_up(sent_on, self.retry_deadline()).await?;
                Ok(Handled::Delete)
            }
        }
    }
}

/// A FAIL without the state that was too large. An author's own error keeps its text.
fn ended_by_size(err: &str, error: &StoreError) -> StepResult {
    StepResult::fail(if err.is_empty() {
        format!("plugin schedule failed: {error}")
    } else {
        format!("{err} ({error})")
    })
}

/// Delays of a wake-up that came before the write it was sent for: a commit follows its send within a moment.
const NOT_WRITTEN_YET: BackOff = BackOff { first: Duration::from_millis(5), longest: Duration::from_secs(2) };

fn has_lease(record: &Record, lease: &Lease) -> bool {
    record.lease.as_ref().is_some_and(|held| held.token == lease.token)
}

/// Why a wake-up's record could not be claimed.
#[derive(Debug, PartialEq, Eq)]
enum ClaimRefused {
    /// The invocation is over.
    Finished,
    /// The step was committed, or the callback was handed to a step.
    AlreadyDone,
    /// The wake-up is for a callback, and the invocation polls: the commit that enters CALLBACK will see the inbox.
    SeenByNextCommit,
    /// The invocation waits for a callback that has not come, and no deadline has passed.
    NothingToRun,
    /// A runner holds the lease.
    Leased { until: Timestamp, alone: bool },
    /// The write that the wake-up was sent for has not been made, and may never be.
    NotWrittenYet,
}

impl ClaimRefused {
    fn of(wake_up: &WakeUp, record: Option<&Record>, now: Timestamp) -> Self {
        let Some(record) = record else { return Self::NotWrittenYet };
        let lease = record.lease.as_ref().filter(|lease| lease.until > now);
        if record.state.is_finished() {
            return Self::Finished;
        }
        match &wake_up.receipt {
            Some(receipt) if record.consumed.contains(receipt) => Self::AlreadyDone,
            Some(receipt) if !record.inbox.iter().any(|entry| entry.receipt == *receipt) => {
                Self::NotWrittenYet
            }
            Some(_) if record.is_stub() => Self::NotWrittenYet,
            Some(_) if record.state == State::Poll => Self::SeenByNextCommit,
            None if record.invoke_count > wake_up.after_step => Self::AlreadyDone,
            None if record.is_stub() || record.invoke_count < wake_up.after_step => Self::NotWrittenYet,
            receipt => match lease {
                Some(lease) => Self::Leased { until: lease.until, alone: lease.token.is_alone() },
                // The record shows no reason why the claim was refused: try again rather than drop.
                None if receipt.is_some() => Self::NotWrittenYet,
                None => Self::NothingToRun,
            },
        }
    }
}
