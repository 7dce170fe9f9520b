//! Random crowds for a while, and mutations that their checks must notice.

use std::time::{Duration, Instant};

use simulation::{Mutation, run_crowd};

fn must_hold(seed: u64) -> simulation::CrowdOutcome {
    let outcome = run_crowd(seed, None);
    if let Some(violation) = &outcome.violation {
        panic!("{}\n\n{violation}\nreplay with: CROWD_SEED={seed}", outcome.trace.join("\n"));
    }
    outcome
}

#[test]
fn crowds_at_random_hold() {
    let given = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = given("CROWD_SEED") {
        println!("{}", must_hold(seed).trace.join("\n"));
        return;
    }
    let seconds = given("SIM_SECONDS").unwrap_or(20);
    let end = Instant::now() + Duration::from_secs(seconds);
    let first = rand::random::<u64>();
    let (mut number, mut invocations, mut deaths, mut deaths_alone) = (0, 0, 0, 0);
    while Instant::now() < end {
        let outcome = must_hold(first.wrapping_add(number));
        number += 1;
        invocations += outcome.invocations;
        deaths += outcome.deaths;
        deaths_alone += outcome.deaths_alone;
    }
    println!(
        "{number} crowds in {seconds} s, seeds from {first}: {invocations} invocations, {deaths} deaths of \
         processes, {deaths_alone} of them with one step under way; no violation"
    );
    assert!(deaths_alone > 0 && deaths > deaths_alone);
}

#[test]
fn every_mutation_of_crowds_is_noticed() {
    let mut unnoticed = Vec::new();
    for (mutation, within) in Mutation::OF_CROWDS {
        let violation = |seed| run_crowd(seed, Some(mutation)).violation.map(|violation| (seed, violation));
        match (0..within).find_map(violation) {
            Some((seed, violation)) => println!("{mutation:?}: seed {seed} of {within}: {violation}"),
            None => unnoticed.push(mutation),
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
