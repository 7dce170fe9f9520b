//! Random worlds for a while, worlds that failed in the past, and mutations that the checks must notice.

use std::time::{Duration, Instant};

use simulation::{Mutation, Options, minimal, run};

/// Runs the world of a seed; on a violation, fails with the shortest trace.
fn must_hold(seed: u64) {
    let outcome = run(seed, Options::default());
    if let Some(violation) = outcome.violation {
        let trace = minimal(seed, &Options::default()).trace.join("\n");
        panic!("{trace}\n\n{violation}\nreplay with: SIM_SEED={seed} just sim 1");
    }
}

#[test]
fn worlds_at_random_hold() {
    let seconds = std::env::var("SIM_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(20);
    let end = Instant::now() + Duration::from_secs(seconds);
    let first = rand::random::<u64>();
    let mut number = 0;
    while Instant::now() < end {
        must_hold(first.wrapping_add(number));
        number += 1;
    }
    println!("{number} invocations in {seconds} s, seeds from {first}, no violation");
}

#[test]
fn former_failures_hold() {
    let lines = include_str!("../regressions.txt").lines();
    let seeds = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
    for seed in seeds {
        must_hold(seed.parse().unwrap());
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let traced = |seed| run(seed, Options { trace: true, ..Options::default() }).trace;
    for seed in 0..100 {
        let (one, other) = (traced(seed), traced(seed));
        assert!(one.len() > 3, "{one:?}");
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

#[test]
fn every_mutation_is_noticed() {
    let mut unnoticed = Vec::new();
    for (mutation, within) in Mutation::ALL {
        let options = Options { mutation: Some(mutation), ..Options::default() };
        let noticed = (0..within)
            .find_map(|seed| run(seed, options.clone()).violation.map(|violation| (seed, violation)));
        match noticed {
            Some((seed, violation)) => {
                println!("{mutation:?}: seed {seed} of {within}: {violation}");
                must_hold(seed);
            }
            None => unnoticed.push(mutation),
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
