use std::collections::BTreeSet;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Finish, WakeUp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn policies() -> impl Strategy<Value = SuspectPolicy> {
    let (first, longest) = (Duration::from_millis(200), Duration::from_secs(5));
    (1..3_u32, 0..3_u32, any::<bool>(), 0..5_u32, 1..4_u64).prop_map(
        move |(suspected_at, more, beside_fresh, put_backs, stagger)| SuspectPolicy {
            suspected_at,
            singled_out_at: suspected_at + more,
            singled_out_when_idle_at: suspected_at + more.min(1),
            beside_fresh,
            put_backs,
            back_off: BackOff { first, longest },
            stagger: Duration::from_secs(stagger),
        },
    )
}

fn situations() -> impl Strategy<Value = Situation> {
    (any::<bool>(), any::<bool>(), 0..4_usize).prop_map(|(is_idle, may_hold_up, room)| Situation {
        is_idle,
        may_hold_up,
        room,
    })
}

/// Deliveries whose handles are their positions.
fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
    let delivery = (0..6_u32, 0..4_u32, 0..6_u32, 1..4_u32);
    vec(delivery, 0..12).prop_map(|drawn| {
        let deliveries = drawn.into_iter().enumerate();
        let deliveries = deliveries.map(|(position, (kind, crashes, put_backs, receive_count))| {
            let wake_up = WakeUp::for_step(TraceId::random(), 1, Timestamp::from_millis(0));
            let wake_up = WakeUp { crashes, put_backs, ..wake_up };
            let message = match kind {
                0 => Message::Finish(Finish::first(TraceId::random())),
                1 | 2 => Message::WakeUp(wake_up.alone(crashes)),
                _ => Message::WakeUp(wake_up),
            };
            Delivery { message, handle: position.to_string(), receive_count }
        });
        deliveries.collect()
    })
}

fn is_singled_out(delivery: &Delivery) -> bool {
    matches!(&delivery.message, Message::WakeUp(wake_up) if wake_up.alone.is_some())
}

fn is_suspect(delivery: &Delivery, policy: &SuspectPolicy) -> bool {
    policy.standing(delivery, false) == Standing::Suspect
}

proptest! {
    #[test]
    fn nothing_is_lost(all in deliveries(), policy in policies(), now in situations()) {
        let count = all.len();
        let Plan { fresh, suspects, alone, single_out, put_back } = plan(all, &policy, now);
        let put_back = put_back.into_iter().map(|(delivery, _)| delivery);
        let planned = fresh.into_iter().chain(suspects).chain(alone).chain(single_out);
        let planned: Vec<_> = planned.chain(put_back).collect();
        let handles: BTreeSet<_> = planned.iter().map(|delivery| &delivery.handle).collect();
        prop_assert_eq!((planned.len(), handles.len()), (count, count));
    }

    #[test]
    fn what_was_singled_out_runs_beside_nothing(all in deliveries(), policy in policies(), now in situations()) {
        let plan = plan(all, &policy, now);
        prop_assert!(!plan.fresh.iter().chain(&plan.suspects).any(is_singled_out));
        prop_assert!(plan.alone.iter().all(is_singled_out));
        prop_assert!(plan.alone.is_none() || plan.fresh.is_empty() && plan.suspects.is_empty());
    }

    #[test]
    fn no_more_suspects_run_than_there_is_room_for(
        all in deliveries(), policy in policies(), now in situations(),
    ) {
        let plan = plan(all, &policy, now);
        prop_assert!(plan.suspects.len() <= now.room);
        prop_assert!(plan.suspects.iter().all(|suspect| is_suspect(suspect, &policy)));
        prop_assert!(!plan.fresh.iter().any(|fresh| is_suspect(fresh, &policy)));
        prop_assert!(policy.beside_fresh || plan.suspects.is_empty() || plan.fresh.is_empty());
    }

    #[test]
    fn others_make_way_only_for_one_that_has_waited(
        all in deliveries(), policy in policies(), now in situations(),
    ) {
        let plan = plan(all, &policy, now);
        let makes_way = plan.put_back.iter().any(|(delivery, _)| {
            policy.standing(delivery, false) == Standing::Fresh
        });
        let for_whom = plan.alone.iter().chain(&plan.suspects).map(put_backs).max();
        prop_assert!(!makes_way || for_whom >= Some(policy.put_backs));
        prop_assert!(!makes_way || plan.alone.is_none() || now.may_hold_up);
    }

    #[test]
    fn something_runs_where_nothing_is_under_way(all in deliveries(), policy in policies()) {
        let is_empty = all.is_empty();
        let plan = plan(all, &policy, Situation { is_idle: true, may_hold_up: false, room: 1 });
        let runs = plan.fresh.len() + plan.suspects.len() + usize::from(plan.alone.is_some());
        prop_assert!(is_empty || runs + plan.single_out.len() > 0);
    }

    #[test]
    fn what_has_waited_longest_goes_first(all in deliveries(), policy in policies(), now in situations()) {
        let plan = plan(all, &policy, now);
        let waits = |of: fn(&Delivery) -> bool| {
            plan.put_back.iter().filter(move |(other, _)| of(other)).map(|(other, _)| put_backs(other)).max()
        };
        let first = plan.alone.as_ref().map(put_backs);
        prop_assert!(first.is_none() || waits(is_singled_out) <= first);
        let last = plan.suspects.iter().map(put_backs).min();
        let waiting = plan.put_back.iter().filter(|(other, _)| is_suspect(other, &policy));
        prop_assert!(last.is_none() || waiting.map(|(other, _)| put_backs(other)).max() <= last);
    }

    #[test]
    fn no_put_back_takes_long(all in deliveries(), policy in policies(), now in situations()) {
        let plan = plan(all, &policy, now);
        let longest = policy.back_off.longest * 2;
        prop_assert!(plan.put_back.iter().all(|(_, delay)| *delay <= longest));
    }

    /// Suspects that take equally long are released in rounds of 1, 2, 4, 8.
    #[test]
    fn suspects_that_end_well_are_released_in_growing_numbers(count in 1..2_000_usize) {
        let (mut probation, mut left, mut rounds) = (Probation::default(), count, Vec::new());
        let mut now = Timestamp::from_millis(1_800_000_000_000);
        while left > 0 {
            let round = probation.room(now).min(left);
            (0..round).for_each(|_| probation.begin());
            prop_assert_eq!(probation.room(now), if round < left { 0 } else { probation.room(now) });
            now = now + Duration::from_secs(60);
            (0..round).for_each(|_| probation.end(now));
            left -= round;
            rounds.push(round);
        }
        prop_assert_eq!(rounds.len(), (count + 1).next_power_of_two().ilog2() as usize);
        prop_assert!(rounds.iter().enumerate().rev().skip(1).all(|(at, round)| *round == 1 << at));
    }
}

#[test]
fn a_process_that_lives_on_begins_again_with_one() {
    let mut probation = Probation::default();
    let now = Timestamp::from_millis(1_800_000_000_000);
    for _ in 0..5 {
        probation.begin();
        probation.end(now);
    }
    assert_eq!(probation.room(now), 6);
    assert_eq!(probation.room(now + FORGET_AFTER * 2), 1);
}
