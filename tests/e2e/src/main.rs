//! Deploys the template to an AWS emulator and calls the plugin from outside, through API Gateway.
//!
//! `infra/aws-emulator.sh` runs it: the script starts the emulator and has the tools on the path. `just e2e`
//! does all of it. The functions come from `target/debug`, because the tests check that they work, not how
//! fast.
#![allow(clippy::unwrap_used, reason = "a scenario that panics has failed, which is what is wanted")]
#![allow(clippy::print_stdout, reason = "what was done is told")]

mod deployment;
mod plugin;
mod receiver;
mod scenarios;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::deployment::Deployment;
use crate::scenarios::{Scenario, World};

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let began = Instant::now();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut deployment = Deployment::new(root).await;
    deployment.first().await;
    println!("deployed to {} after {:.0} s", deployment.base_url(), began.elapsed().as_secs_f64());
    let transcripts = deployment.replay_transcripts().await;

    let world = World::new(&deployment).await;
    let in_flight = world.begin().await;
    deployment.second().await;
    println!("deployed again, with invocations in flight, after {:.0} s", began.elapsed().as_secs_f64());
    let told = world.scenarios(in_flight).await;

    let failed: Vec<&Scenario> = told.iter().filter(|scenario| scenario.outcome.is_err()).collect();
    for scenario in &told {
        match &scenario.outcome {
            Ok(()) => println!("ok      {}", scenario.name),
            Err(problem) => println!("FAILED  {}: {problem}", scenario.name),
        }
    }
    let (passed, seconds) = (told.len() - failed.len(), began.elapsed().as_secs_f64());
    println!("{transcripts}");
    println!("end to end: {passed} scenarios passed, {} failed, in {seconds:.0} s", failed.len());
    if failed.is_empty() && transcripts.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
