//! The protocol keeps its properties, and needs every one of its rules. `--no-capture` shows the figures.
#![allow(clippy::print_stdout, reason = "figures are what one runs it for")]

use model::protocol::{Mutation, Protocol};
use model::{cases, explore, termination};

fn holds(cases: &[cases::Case]) {
    for (name, case) in cases {
        let found = explore(*case);
        println!("{name}: {} states", found.states);
        assert_eq!(found.broken, None, "{name}");
    }
}

#[test]
fn every_promise_holds_whatever_the_order() {
    holds(&cases::ORDER);
}

#[test]
fn every_promise_holds_with_intervals_deadlines_and_failing_steps() {
    holds(&cases::TIME);
}

#[test]
fn everything_ends_once_faults_stop() {
    let nothing = termination::Ends { stuck: None, looping: None };
    // `just model` explores the largest models.
    for (name, case) in cases::ORDER[..4].iter().chain(&cases::TIME[..3]).chain(&cases::TIME[4..]) {
        assert_eq!(termination::check(case), nothing, "{name}");
    }
}

/// Tries a mutation in each case. Returns the first case that breaks a property, with the path to it.
fn caught<'a>(mutation: Mutation, cases: impl IntoIterator<Item = &'a cases::Case>) -> Option<String> {
    cases.into_iter().find_map(|(name, case)| {
        let broken = Protocol { mutation: Some(mutation), ..*case };
        let found = explore(broken);
        let (property, way) = found.broken?;
        let actions: Vec<String> = way.iter().map(|action| format!("    {action:?}")).collect();
        Some(format!("{property}, in \"{name}\":\n{}", actions.join("\n")))
    })
}

#[test]
fn every_rule_is_needed() {
    let needed = [
        Mutation::CommitBeforeSend,
        Mutation::AppendBeforeSend,
        Mutation::DeleteBeforeCommit,
        Mutation::DropOnLease,
        Mutation::DropWhenBehind,
        Mutation::DeleteOnLostLease,
        Mutation::ClaimIgnoresLease,
        Mutation::ClaimIgnoresStep,
        Mutation::ClaimIgnoresEnd,
        Mutation::ClaimIgnoresDeadline,
        Mutation::CallbackRunsPoll,
        Mutation::CommitIgnoresLease,
        Mutation::CommitIgnoresInbox,
        Mutation::CommitBeforeFinish,
        Mutation::EarlyFinishIsDropped,
        Mutation::EarlyFinishIsPosted,
        Mutation::SettleBeforePost,
    ];
    let (order, time) = (&cases::ORDER, &cases::TIME);
    let small_ones_first = [order[0], order[1], time[0], time[5], time[2], order[3]];
    let mut not_caught = Vec::new();
    for mutation in needed {
        match caught(mutation, &small_ones_first) {
            Some(trace) => println!("{mutation:?}: {trace}"),
            None => not_caught.push(mutation),
        }
    }
    assert_eq!(not_caught, []);
}

#[test]
fn without_its_bound_a_put_back_or_a_lease_goes_on_for_ever() {
    for mutation in [Mutation::PutBackWithoutBound, Mutation::LeaseNeverEnds] {
        let ends = termination::check(&Protocol { mutation: Some(mutation), ..cases::ORDER[1].1 });
        println!("{mutation:?}: {:?}", ends.stuck);
        assert!(ends.stuck.is_some(), "{mutation:?}");
    }
}

/// Rules that improve the protocol but are not needed for its correctness.
#[test]
fn two_rules_can_be_spared() {
    for mutation in [Mutation::FirstRecordIgnoresInbox, Mutation::ConsumedIsForgotten] {
        assert_eq!(caught(mutation, &cases::ORDER[..4]), None, "{mutation:?}");
    }
}
