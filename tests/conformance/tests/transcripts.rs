//! Replays every transcript of the reference against the running service, in the mode of its recording.
//!
//! `replay/deviations.rs` lists every answer that differs, with the reason and a check of the new answer. A
//! listed answer that does not differ fails too.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests, and say what they compared")]

mod common;
mod replay;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use local_mysql::MariaDb;

use self::common::{Mode, Running};
use self::replay::{
    DEVIATIONS, FINISH_DEVIATIONS, Outcome, Receiver, Replay, Transcript, Why, finish_callbacks, read_all,
};

/// Number of transcripts replayed at once: most of their time is spent waiting for intervals. An AWS emulator
/// runs one function at a time and serves no logs.
fn at_once() -> usize {
    if on_lambda() { 3 } else { 12 }
}

fn on_lambda() -> bool {
    std::env::var("BK_PLUGIN_CONFORMANCE_ON").is_ok_and(|platform| platform == "lambda")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_of_development_is_the_same_or_deviates_as_listed() {
    replay(&common::start(Mode::Development).await, Mode::Development).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_behind_the_gateway_is_the_same_or_deviates_as_listed() {
    replay(&common::start(Mode::Gateway).await, Mode::Gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_of_apps_limited_to_scopes_is_the_same_or_deviates_as_listed() {
    replay(&common::start(Mode::Scoped).await, Mode::Scoped).await;
}

/// Replays all transcripts with one MariaDB behind three processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_on_mariadb_is_the_same_or_deviates_as_listed() {
    let mariadb = MariaDb::start().await;
    for mode in [Mode::Development, Mode::Gateway, Mode::Scoped] {
        replay(&common::start_on(&mariadb.url(), mode).await, mode).await;
    }
}

/// Replays the recordings of a mode against a service that runs in this mode.
async fn replay(running: &Running, mode: Mode) {
    // The number of recordings, so that a lost one is noticed.
    let recorded = match mode {
        Mode::Development => 140,
        Mode::Gateway => 8,
        Mode::Scoped => 14,
    };
    let all = read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts"));
    let listed = DEVIATIONS.iter().map(|deviation| deviation.case);
    for case in listed.chain(FINISH_DEVIATIONS.iter().map(|(case, ..)| *case)) {
        assert!(
            all.iter().any(|transcript| transcript.case == case),
            "{case} is listed and was not recorded"
        );
    }
    let of_mode = |transcript: &&Transcript| transcript.mode() == mode;
    assert_eq!(all.iter().filter(of_mode).count(), recorded, "transcripts in the folder");

    let (receiver, client) = (Receiver::start().await, common::client());
    let replay = Replay { base_url: &running.base_url, client: &client, receiver: &receiver, all: &all };
    let needs_logs = |transcript: &&Transcript| on_lambda() && transcript.case.starts_with("logs_");
    let of_logs = all.iter().filter(of_mode).filter(needs_logs).count();
    let replayed = all.iter().filter(of_mode).filter(|transcript| !needs_logs(transcript));
    let mut outcomes: BTreeMap<&str, Outcome> = stream::iter(replayed)
        .map(|transcript| async { (transcript.case.as_str(), replay.run(transcript).await) })
        .buffer_unordered(at_once())
        .collect()
        .await;
    // An unwanted finish callback would have arrived by the end of this wait.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for transcript in &all {
        let Some(outcome) = outcomes.get_mut(transcript.case.as_str()) else { continue };
        match (finish_callbacks(transcript, &receiver).await, &mut *outcome) {
            (None | Some(Ok(None)), _) | (_, Outcome::Differs(_)) => {}
            (Some(Ok(Some(why))), Outcome::Deviates(reasons)) => reasons.push(why),
            (Some(Ok(Some(why))), _) => *outcome = Outcome::Deviates(vec![why]),
            (Some(Err(found)), _) => *outcome = Outcome::Differs(vec![found]),
        }
    }

    let same = outcomes.values().filter(|outcome| matches!(outcome, Outcome::Same)).count();
    let mut by_reason: BTreeMap<Why, Vec<&str>> = BTreeMap::new();
    let (mut deviating, mut wrong) = (0, Vec::new());
    for (case, outcome) in &outcomes {
        match outcome {
            Outcome::Same => {}
            Outcome::Deviates(reasons) => {
                deviating += 1;
                for why in reasons {
                    by_reason.entry(*why).or_default().push(case);
                }
            }
            Outcome::Differs(found) => wrong.push(format!("{case}: {}", found.join("; "))),
        }
    }
    let reasons: Vec<String> =
        by_reason.iter().map(|(why, cases)| format!("{why}: {}", cases.join(" "))).collect();
    println!(
        "{mode:?}: {} transcripts replayed, {same} the same, {deviating} with a listed deviation ({}), {of_logs} need \
         logs",
        outcomes.len(),
        reasons.join("; ")
    );
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(same + deviating + of_logs, recorded, "every transcript is accounted for");
}
