//! Runs a step with nothing else under way in its process, and learns from the record what became of such a run.
//!
//! Most processes that die take innocent steps with them. So a step is found guilty only by runs alone: such a run claims
//! a lease whose token is in its wake-up. If a later receiver finds that very lease on the record, and its time is
//! over, the run never came to its end although no other author code could have ended the process.

use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::ids::LeaseToken;
use bk_plugin_core::queue::{Delivery, Message, WakeUp};
use bk_plugin_core::record::Lease;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Claim;
use futures::future::{Either, select};

use super::gate::{Entered, OthersHeldUp};
use super::{EngineCall, Handled};
use crate::metrics::begun_late;

/// Crashes beside others that count towards [`Limits::max_receive_count`](super::Limits::max_receive_count). All
/// further ones must have happened in runs alone.
pub(super) const COUNTED_BESIDE: u32 = 3;

/// Put-backs in which a run alone waits for a moment without other author code. After them it makes that moment.
pub(crate) const TRIES: u32 = 3;

const TRY_AGAIN: BackOff = BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// For how long a run alone holds others up that have come meanwhile. The time doubles with each run, so that a step
/// that ends its process late is found too.
const OTHERS_WAIT: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };

/// After this, a copy of the wake-up looks what became of a run that was alone no more.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How a step that should run alone runs.
enum Company {
    /// Its wake-up's token is claimed, so that its crash can be proved.
    Alone(OthersHeldUp),
    /// Other author code did not end in time: a thread that is held, for example. A crash proves nothing.
    Others,
}

impl EngineCall<'_> {
    /// Puts a wake-up back as one that is only run alone.
    pub async fn single_out(&self, delivery: &Delivery) -> Handled {
        match &delivery.message {
            Message::WakeUp(wake_up) => self.run_alone_later(wake_up, delivery.crashes()).await,
            // These run no author's code.
            Message::Finish(_) | Message::Unreadable(_) => Handled::Leave,
        }
    }

    pub(super) async fn run_alone_later(&self, wake_up: &WakeUp, crashes: u32) -> Handled {
        let singled_out = self.singled_out(WakeUp { put_backs: 0, ..wake_up.clone() }, crashes);
        tracing::warn!(
            trace_id = %wake_up.trace_id,
            crashes,
            "its process died again and again while this step was under way; it is run alone now"
        );
        self.send_or_leave(&Message::WakeUp(singled_out), Duration::ZERO).await
    }

    pub(super) fn singled_out(&self, wake_up: WakeUp, crashes: u32) -> WakeUp {
        let most = self.limits().max_receive_count.saturating_sub(1).min(COUNTED_BESIDE);
        wake_up.alone(crashes.min(most))
    }

    /// Runs the step of a wake-up that is only run alone, unless the record shows that its last run died.
    pub(super) async fn wake_up_alone(
        &mut self,
        wake_up: &WakeUp,
        token: &LeaseToken,
    ) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        let record = self.table().read(&wake_up.trace_id).await?;
        match record.as_deref().and_then(|record| record.lease.as_ref()) {
            Some(lease) if lease.until > now => {
                return self.on_claim_refused(wake_up, record.as_deref(), now).await;
            }
            Some(lease) if lease.token == *token => return self.died_alone(wake_up).await,
            // The run alone of another wake-up for this step. That one must see what became of it: two wake-ups that
            // took each other's lease off would never prove anything.
            Some(lease) if lease.token.is_alone() && lease.token.next_alone() != *token => {
                let until = lease.until + self.limits().visibility_timeout();
                if now < until {
                    return self.put_back(wake_up, until.since(now)).await;
                }
            }
            _ => {}
        }
        let (entered, company) = match self.gate().try_alone() {
            Some((entered, others)) => (entered, Company::Alone(others)),
            None if wake_up.put_backs < TRIES => {
                return self.put_back(wake_up, TRY_AGAIN.delay(wake_up.put_backs)).await;
            }
            None => match self.gate().alone(self.clock(), self.patience()).await {
                Some((entered, others)) => (entered, Company::Alone(others)),
                None => (self.gate().enter().await, Company::Others),
            },
        };
        // From here on the lease may be on the record, whatever the store answers.
        match self.claim_and_run_alone(wake_up, token, entered, company).await {
            Err(error) => {
                let never_claimed = Message::WakeUp(wake_up.clone().alone(wake_up.crashes));
                Ok(self.requeue_after_outage(&never_claimed, &error).await)
            }
            handled => handled,
        }
    }

    async fn claim_and_run_alone(
        &mut self,
        wake_up: &WakeUp,
        token: &LeaseToken,
        entered: Entered,
        company: Company,
    ) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        let lease = match company {
            Company::Alone(_) => Lease { token: token.clone(), ..self.new_lease(now) },
            Company::Others => self.new_lease(now),
        };
        let mut record = match self.claim(wake_up, &lease, now).await? {
            Claim::Granted(record) => record,
            Claim::Refused(record) => return self.on_claim_refused(wake_up, record.as_deref(), now).await,
        };
        let Some(running) = self.engine.under_way.begin(&record.trace_id) else {
            let never_run = wake_up.clone().alone(wake_up.crashes);
            return self.put_back(&never_run, lease.until.since(now)).await;
        };
        begun_late(&record.plugin_version, now.since(wake_up.due_at));
        self.context.enter_invocation(&record.trace);
        let step = Box::pin(self.run_claimed(&mut record, (running, entered)));
        let ended = match company {
            Company::Others => step.await,
            Company::Alone(others) => {
                match select(step, Box::pin(self.others_have_waited(wake_up))).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(((), step)) => {
                        // If the proof cannot be taken back, the others wait until the step has ended.
                        let others = (!self.take_proof_back(wake_up).await).then_some(others);
                        let ended = step.await;
                        drop(others);
                        ended
                    }
                }
            }
        };
        match ended {
            Ok(ended) => self.send_and_commit(wake_up, ended, &record, &lease).await,
            Err(not_started) => {
                tracing::warn!("wake-up put back: {not_started}");
                let never_run = wake_up.clone().alone(wake_up.crashes);
                self.give_back(&never_run, &record, &lease).await
            }
        }
    }

    /// Returns when other author code has waited for long enough.
    async fn others_have_waited(&self, wake_up: &WakeUp) {
        if self.context.handle.is_none() {
            return std::future::pending().await;
        }
        let before = wake_up.put_backs.saturating_sub(TRIES);
        self.clock().sleep(OTHERS_WAIT.delay(before)).await;
        self.gate().is_wanted().await;
    }

    /// Replaces the wake-up by one with another token, so that this run proves nothing. Returns whether it did.
    async fn take_proof_back(&self, wake_up: &WakeUp) -> bool {
        let Some(handle) = &self.context.handle else { return false };
        let put_backs = wake_up.put_backs.max(TRIES).saturating_add(1);
        let other = WakeUp { put_backs, ..wake_up.clone() }.alone(wake_up.crashes);
        let (until, other) = (self.retry_deadline(), Message::WakeUp(other));
        let replaced = async {
            self.retry_until(until, || self.queue().send(&other, LOOK_AGAIN)).await?;
            self.retry_until(until, || self.queue().delete(handle)).await
        };
        replaced.await.is_ok()
    }

    /// One more run alone that never came to its end.
    async fn died_alone(&self, wake_up: &WakeUp) -> Result<Handled, StoreError> {
        let crashes = wake_up.crashes.saturating_add(1);
        if crashes >= self.limits().max_receive_count {
            return self.found_guilty(wake_up).await;
        }
        let again = Message::WakeUp(wake_up.clone().alone(crashes));
        self.queue().send(&again, Duration::ZERO).await?;
        Ok(Handled::Delete)
    }

    /// How long a run alone waits for other author code to end.
    fn patience(&self) -> Duration {
        match self.context.time_budget {
            // A function has no others, but for threads that are held.
            Some(_) => Duration::ZERO,
            None => self.limits().step_time_limit,
        }
    }
}
