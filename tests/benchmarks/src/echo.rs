//! Echo invocations a second, compared with a bare axum route that parses and answers the same JSON.

use std::time::Duration;

use crate::Failure;
use crate::load::{self, Measured, post};
use crate::process::Server;

const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// One of the servers that are compared.
struct Runner {
    name: &'static str,
    server: Server,
    best: Option<Measured>,
}

pub(crate) async fn run() -> Result<(), Failure> {
    println!(
        "\n== echo: POST invoke/1.0.0, {CONNECTIONS} connections, best of {ROUNDS} rounds of {TIME:?} in turn"
    );
    let mut runners = Vec::new();
    for (name, program, log) in [
        ("bare axum route", "bare", "warn"),
        ("server, BK_PLUGIN_LOG=warn", "server", "warn"),
        ("server, BK_PLUGIN_LOG=info", "server", "info"),
    ] {
        runners.push(Runner { name, server: Server::start(program, log).await?, best: None });
    }
    let server = &runners[2].server;
    println!("start-up to the first answer: {:.1?} (goal: under 100 ms)", server.start_up);
    println!("resident memory idle: {}", server.memory("VmRSS"));
    // The servers take turns, so that other load on the machine affects all of them alike.
    for _ in 0..ROUNDS {
        for runner in &mut runners {
            let measured = load::run(runner.server.port, CONNECTIONS, TIME, &request()).await?;
            if runner.best.as_ref().is_none_or(|best| best.per_second < measured.per_second) {
                runner.best = Some(measured);
            }
        }
    }
    let bare = runners[0].best.as_ref().map_or(f64::NAN, |best| best.per_second);
    for Runner { name, best, .. } in &runners {
        let Some(best) = best else { continue };
        println!(
            "{name:27} {:>7.0} a second, p50 {:>8.2?}, p99 {:>8.2?}, {:.2} of the bare route (goal: at least 0.8)",
            best.per_second,
            best.p50,
            best.p99,
            best.per_second / bare
        );
    }
    println!("resident memory under this load: {}", runners[2].server.memory("VmHWM"));
    Ok(())
}

fn request() -> Vec<u8> {
    post("/bk_plugin/invoke/1.0.0", r#"{"inputs":{"hello":"world"},"context":{"executor":"admin"}}"#)
}
