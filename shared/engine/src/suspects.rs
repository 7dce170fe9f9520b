//! Suspects: wake-ups whose step may crash the process that runs it.
//!
//! Two suspects never run at the same time in one process, so that a crash tells which step is to blame. Where a crash
//! takes down everything that was received with it, as in a batch of a Lambda function, a suspect runs quite alone.
//! [`plan`] is the decision, for any host; a host has a [`SuspectPolicy`].

use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::queue::{Delivery, Message};

/// When a host suspects a wake-up, and what it does with it.
#[derive(Debug, Clone, Copy)]
pub struct SuspectPolicy {
    /// A wake-up with this many crashes is a suspect.
    pub crashes: u32,
    /// `None`: a suspect runs beside fresh deliveries. `Some`: it runs alone, when there are no fresh deliveries or when
    /// it was put back this often; then the fresh ones are put back instead.
    pub put_backs_before_alone: Option<u32>,
    /// Delay of a delivery that is put back, by how often it was put back before.
    pub back_off: BackOff,
    /// Delay between suspects put back together, so that each comes back when no other is running.
    pub stagger: Duration,
}

/// What is to be done with some deliveries. Put back first, then run: a delivery that is still here when the process
/// crashes counts one more crash.
#[derive(Debug)]
pub struct Plan<D> {
    /// Deliveries to run that are not suspects.
    pub fresh: Vec<D>,
    /// The one suspect to run.
    pub suspect: Option<D>,
    /// Deliveries to put back, each for after its delay.
    pub put_back: Vec<(D, Duration)>,
}

/// Decides what runs now. No suspect does unless `slot_is_free`: no other suspect is running.
pub fn plan<D: AsRef<Delivery>>(deliveries: Vec<D>, policy: &SuspectPolicy, slot_is_free: bool) -> Plan<D> {
    let (mut suspects, mut fresh): (Vec<D>, Vec<D>) =
        deliveries.into_iter().partition(|delivery| policy.suspects(delivery.as_ref()));
    suspects.sort_by_key(put_backs);
    let has_its_turn = match policy.put_backs_before_alone {
        None => true,
        Some(enough) => fresh.is_empty() || suspects.last().is_some_and(|last| put_backs(last) >= enough),
    };
    let suspect = if slot_is_free && has_its_turn { suspects.pop() } else { None };
    let runs_alone = suspect.is_some() && policy.put_backs_before_alone.is_some();
    let make_way = if runs_alone { std::mem::take(&mut fresh) } else { Vec::new() };

    let later = |delivery: D, stagger: Duration| {
        let delay = policy.back_off.delay(put_backs(&delivery)) + stagger;
        (delivery, delay)
    };
    let suspects = suspects.into_iter().zip(0..);
    let suspects = suspects.map(|(suspect, position)| later(suspect, policy.stagger * position));
    let make_way = make_way.into_iter().map(|delivery| later(delivery, Duration::ZERO));
    Plan { fresh, suspect, put_back: suspects.chain(make_way).collect() }
}

impl SuspectPolicy {
    /// Whether it may have crashed its last runners. (Posting a finish callback runs no author's code.)
    fn suspects(&self, delivery: &Delivery) -> bool {
        matches!(delivery.message, Message::WakeUp(_)) && delivery.crashes() >= self.crashes
    }
}

fn put_backs<D: AsRef<Delivery>>(delivery: &D) -> u32 {
    delivery.as_ref().message.put_backs()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bk_plugin_core::clock::Timestamp;
    use bk_plugin_core::ids::TraceId;
    use bk_plugin_core::queue::{Finish, WakeUp};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = SuspectPolicy> {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(5));
        (1..4_u32, proptest::option::of(0..5_u32), 1..4_u64).prop_map(move |(crashes, alone, stagger)| {
            SuspectPolicy {
                crashes,
                put_backs_before_alone: alone,
                back_off: BackOff { first, longest },
                stagger: Duration::from_secs(stagger),
            }
        })
    }

    /// Deliveries whose handles are their positions.
    fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
        let delivery = (any::<bool>(), 0..4_u32, 0..6_u32, 1..4_u32);
        vec(delivery, 0..12).prop_map(|drawn| {
            let deliveries = drawn.into_iter().enumerate();
            let deliveries = deliveries.map(|(position, (is_finish, crashes, put_backs, receive_count))| {
                let wake_up = WakeUp::for_step(TraceId::random(), 1, Timestamp::from_millis(0));
                let message = if is_finish {
                    Message::Finish(Finish::first(TraceId::random()))
                } else {
                    Message::WakeUp(WakeUp { crashes, put_backs, ..wake_up })
                };
                Delivery { message, handle: position.to_string(), receive_count }
            });
            deliveries.collect()
        })
    }

    proptest! {
        #[test]
        fn nothing_is_lost(all in deliveries(), policy in policies(), slot_is_free: bool) {
            let count = all.len();
            let Plan { fresh, suspect, put_back } = plan(all, &policy, slot_is_free);
            let put_back = put_back.into_iter().map(|(delivery, _)| delivery);
            let planned: Vec<_> = fresh.into_iter().chain(suspect).chain(put_back).collect();
            let handles: BTreeSet<_> = planned.iter().map(|delivery| &delivery.handle).collect();
            prop_assert_eq!((planned.len(), handles.len()), (count, count));
        }

        #[test]
        fn one_suspect_runs_at_a_time(all in deliveries(), policy in policies(), slot_is_free: bool) {
            let plan = plan(all, &policy, slot_is_free);
            prop_assert!(slot_is_free || plan.suspect.is_none());
            prop_assert!(plan.suspect.iter().all(|suspect| policy.suspects(suspect)));
            prop_assert!(!plan.fresh.iter().any(|fresh| policy.suspects(fresh)));
        }

        #[test]
        fn a_suspect_that_runs_alone_runs_beside_nothing(all in deliveries(), policy in policies()) {
            let plan = plan(all, &policy, true);
            let alone = policy.put_backs_before_alone.is_some() && plan.suspect.is_some();
            prop_assert!(!alone || plan.fresh.is_empty());
        }

        #[test]
        fn fresh_ones_run_unless_a_suspect_has_waited_long_enough(
            all in deliveries(), policy in policies(), slot_is_free: bool,
        ) {
            let plan = plan(all, &policy, slot_is_free);
            let makes_way = plan.put_back.iter().any(|(delivery, _)| !policy.suspects(delivery));
            let has_waited = plan.suspect.as_ref().map(put_backs) >= policy.put_backs_before_alone;
            prop_assert!(!makes_way || (policy.put_backs_before_alone.is_some() && has_waited));
        }

        #[test]
        fn a_suspect_runs_if_nothing_else_does(all in deliveries(), policy in policies()) {
            let is_empty = all.is_empty();
            let plan = plan(all, &policy, true);
            prop_assert!(is_empty || plan.suspect.is_some() || !plan.fresh.is_empty());
        }

        #[test]
        fn the_suspect_that_was_put_back_most_goes_first(all in deliveries(), policy in policies()) {
            let plan = plan(all, &policy, true);
            if let Some(suspect) = &plan.suspect {
                let mut others = plan.put_back.iter().filter(|(other, _)| policy.suspects(other));
                prop_assert!(others.all(|(other, _)| put_backs(other) <= put_backs(suspect)));
            }
        }

        #[test]
        fn suspects_come_back_apart(all in deliveries(), policy in policies(), slot_is_free: bool) {
            let plan = plan(all, &policy, slot_is_free);
            let suspects = plan.put_back.iter().filter(|(delivery, _)| policy.suspects(delivery));
            let delays: Vec<_> = suspects.map(|(_, delay)| *delay).collect();
            prop_assert!(delays.windows(2).all(|pair| pair[1] >= pair[0] + policy.stagger), "{:?}", delays);
        }
    }
}
