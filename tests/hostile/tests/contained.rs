//! Each offence harms the offender alone. Each is committed on a server process of its own; no figure is asserted.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use hostile::offence::Fate;
use hostile::offences::offences;
use hostile::outcome::Outcome;
use hostile::server::Lives;
use hostile::trial::{Pace, hold, silent_port};

const PACE: Pace = Pace {
    innocents: 6,
    interval: 200,
    long_innocents: 2,
    long: 1000,
    before: Duration::from_millis(300),
    during: Duration::from_secs(1),
    after: Duration::from_millis(300),
    patience: Duration::from_mins(1),
    step_time_limit: Duration::from_secs(5),
};

async fn contained(name: &str) {
    let (_silent, silent_port) = silent_port().unwrap();
    let offence = offences(silent_port).into_iter().find(|offence| offence.name == name).unwrap();
    let found = hold(&offence, &PACE, env!("CARGO_BIN_EXE_hostile").into()).await.unwrap();
    let promise = offence.promise;
    assert!(found.offenders.iter().all(|outcome| promise.is_kept_by(outcome)), "{promise:?}: {found:#?}");
    assert_eq!(found.offenders.len(), offence.times);
    assert!(found.innocents.iter().all(|outcome| *outcome == Outcome::Succeeded), "{found:#?}");
    assert_eq!(found.innocents.len(), PACE.innocents + PACE.long_innocents);
    assert!(found.serves, "{found:#?}");
    let fate = match found.lives {
        Lives { restarts: 0, .. } => Fate::Lives,
        Lives { killed: 0, .. } => Fate::Ends,
        _ => Fate::IsReplaced,
    };
    assert_eq!(fate, offence.fate, "{found:#?}");
}

#[test]
fn every_offence_has_a_test() {
    let tests = include_str!("contained.rs");
    let names = offences(0).into_iter().map(|offence| offence.name);
    let without: Vec<_> = names.filter(|name| !tests.contains(&format!("contained(\"{name}\")"))).collect();
    assert_eq!(without, [""; 0]);
}

#[tokio::test]
async fn sleeps_its_thread() {
    contained("sleeps its thread").await;
}

#[tokio::test]
async fn sleeps_its_thread_in_its_first_step() {
    contained("sleeps its thread in its first step").await;
}

#[tokio::test]
async fn sleeps_more_threads_than_are_replaced() {
    contained("sleeps more threads than are replaced").await;
}

#[tokio::test]
async fn computes_without_an_end() {
    contained("computes without an end").await;
}

#[tokio::test]
async fn calls_a_silent_server_with_a_synchronous_client() {
    contained("calls a silent server with a synchronous client").await;
}

#[tokio::test]
async fn waits_for_itself_a_deadlock() {
    contained("waits for itself: a deadlock").await;
}

#[tokio::test]
async fn sleeps_its_thread_when_its_time_limit_drops_it() {
    contained("sleeps its thread when its time limit drops it").await;
}

#[tokio::test]
async fn sleeps_the_thread_of_a_task_it_spawns() {
    contained("sleeps the thread of a task it spawns").await;
}

#[tokio::test]
async fn leaves_threads_and_tasks_behind_that_never_end() {
    contained("leaves threads and tasks behind that never end").await;
}

#[tokio::test]
async fn a_route_that_sleeps_its_thread() {
    contained("a route that sleeps its thread").await;
}

#[tokio::test]
async fn panics() {
    contained("panics").await;
}

#[tokio::test]
async fn panics_with_a_payload_that_is_not_a_text() {
    contained("panics with a payload that is not a text").await;
}

#[tokio::test]
async fn panics_when_its_time_limit_drops_it() {
    contained("panics when its time limit drops it").await;
}

#[tokio::test]
async fn has_outputs_that_panic_when_they_are_dropped() {
    contained("has outputs that panic when they are dropped").await;
}

#[tokio::test]
async fn aborts_the_process() {
    contained("aborts the process").await;
}

#[tokio::test]
async fn aborts_the_process_in_its_first_step() {
    contained("aborts the process in its first step").await;
}

#[tokio::test]
async fn exits_the_process_with_success() {
    contained("exits the process with success").await;
}

#[tokio::test]
async fn overflows_the_stack() {
    contained("overflows the stack").await;
}

#[tokio::test]
async fn takes_memory_until_there_is_none_left() {
    contained("takes memory until there is none left").await;
}

#[tokio::test]
async fn puts_out_json_a_million_levels_deep() {
    contained("puts out JSON a million levels deep").await;
}

#[tokio::test]
async fn never_ends() {
    contained("never ends").await;
}

#[tokio::test]
async fn polls_without_a_pause_for_ever() {
    contained("polls without a pause for ever").await;
}

#[tokio::test]
async fn waits_for_a_callback_that_never_comes() {
    contained("waits for a callback that never comes").await;
}

#[tokio::test]
async fn sixty_four_steps_of_1_s_in_a_process_with_16_slots() {
    contained("64 steps of 1 s, in a process with 16 slots").await;
}

#[tokio::test]
async fn sixty_four_finish_callbacks_to_a_silent_host() {
    contained("64 finish callbacks to a silent host").await;
}

#[tokio::test]
async fn logs_100000_lines() {
    contained("logs 100,000 lines").await;
}

#[tokio::test]
async fn logs_200000_lines_to_a_standard_output_that_is_not_read() {
    contained("logs 200,000 lines to a standard output that is not read").await;
}

#[tokio::test]
async fn puts_out_5_mib() {
    contained("puts out 5 MiB").await;
}

#[tokio::test]
async fn stores_5_mib() {
    contained("stores 5 MiB").await;
}

#[tokio::test]
async fn puts_out_nan() {
    contained("puts out NaN").await;
}

#[tokio::test]
async fn puts_out_json_200_levels_deep() {
    contained("puts out JSON 200 levels deep").await;
}

#[tokio::test]
async fn a_rule_in_35_rules_the_innermost_wrong() {
    contained("a rule in 35 rules, the innermost wrong").await;
}

#[tokio::test]
async fn two_mb_of_inputs_that_are_all_wrong() {
    contained("2 MB of inputs that are all wrong").await;
}

#[tokio::test]
async fn a_body_100000_levels_deep() {
    contained("a body 100,000 levels deep").await;
}
