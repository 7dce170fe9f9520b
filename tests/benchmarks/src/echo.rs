//! Echo invocations a second, beside a bare axum route that parses and answers the same JSON.

use std::time::Duration;

use crate::Failure;
use crate::load::{self, Measured, post};
use crate::process::Server;

const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

pub(crate) async fn run() -> Result<(), Failure> {
    println!("\n== echo: POST invoke/1.0.0, {CONNECTIONS} connections, {TIME:?}, best of {ROUNDS}");
    let peer = best("bare", "warn").await?;
    print("bare axum route", &peer, &peer);
    for log in ["warn", "info"] {
        let server = best("server", log).await?;
        print(&format!("server, BK_PLUGIN_LOG={log}"), &server, &peer);
    }
    let server = Server::start("server", "info").await?;
    println!("start-up to the first answer: {:.1?} (goal: under 100 ms)", server.start_up);
    println!("resident memory idle: {}", server.memory("VmRSS"));
    load::run(server.port, CONNECTIONS, TIME, &request()).await?;
    println!("resident memory under this load: {}", server.memory("VmHWM"));
    Ok(())
}

fn request() -> Vec<u8> {
    post("/bk_plugin/invoke/1.0.0", r#"{"inputs":{"hello":"world"},"context":{"executor":"admin"}}"#)
}

async fn best(program: &str, log: &str) -> Result<Measured, Failure> {
    let server = Server::start(program, log).await?;
    load::run(server.port, CONNECTIONS, Duration::from_millis(500), &request()).await?;
    let mut best: Option<Measured> = None;
    for _ in 0..ROUNDS {
        let measured = load::run(server.port, CONNECTIONS, TIME, &request()).await?;
        if best.as_ref().is_none_or(|best| best.per_second < measured.per_second) {
            best = Some(measured);
        }
    }
    best.ok_or_else(|| "no round was run".into())
}

fn print(name: &str, measured: &Measured, peer: &Measured) {
    println!(
        "{name:32} {:>8.0} a second, p50 {:>8.2?}, p99 {:>8.2?}, {:.2} of the bare route (goal: at least 0.8)",
        measured.per_second,
        measured.p50,
        measured.p99,
        measured.per_second / peer.per_second
    );
}
