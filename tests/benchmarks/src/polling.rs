//! Polling invocations. Measures steps a second with interval 0, on SQLite and on a MariaDB on the same disk,
//! and lateness with an interval of one second.
//!
//! The plugin (9.0.0 of the reference's own benchmark) outputs the time of each of its steps, so the figures
//! come from the plugin, not from the caller.

use std::time::{Duration, Instant};

use local_mysql::MariaDb;
use serde_json::Value;

use crate::Failure;
use crate::load::{Connection, get, percentile, post};
use crate::process::Server;

/// Number of connections that invoke at the same time.
const CALLERS: usize = 40;

/// Steps a second while 2,000 invocations are in flight.
pub(crate) async fn throughput() -> Result<(), Failure> {
    let server = Server::start("reference-plugins", "warn").await?;
    throughput_of(&server, "SQLite", "5,000").await?;
    drop(server);
    // The same folder as for a server's SQLite file, so that both flush to the same disk.
    let database = MariaDb::start_in(&std::env::temp_dir()).await;
    let store = [("BK_PLUGIN_STORE_URL", database.url())];
    let store = store.each_ref().map(|(name, url)| (*name, url.as_str()));
    let server = Server::start_with("reference-plugins", "warn", &store).await?;
    throughput_of(&server, "MariaDB on the same machine", "2,000").await
}

async fn throughput_of(server: &Server, store: &str, goal: &str) -> Result<(), Failure> {
    let (invocations, times) = (2000, 20);
    println!("\n== polling, interval 0: {invocations} invocations of {} steps on {store}", times + 1);
    let cpu_before = server.cpu_time();
    let ticks = finished(server, invocations, 0, times).await?;
    let cpu_after = server.cpu_time();
    let all = || ticks.iter().flatten();
    let first = all().copied().fold(f64::INFINITY, f64::min);
    let last = all().copied().fold(0.0, f64::max);
    #[allow(clippy::cast_precision_loss, reason = "a count of steps is far below 2^52")]
    let steps = all().count() as f64;
    println!(
        "{:.0} steps a second ({steps} steps in {:.2} s; goal: {goal}; the reference publishes 125)",
        steps / (last - first),
        last - first
    );
    if let (Some(before), Some(after)) = (cpu_before, cpu_after) {
        let micros = after.saturating_sub(before).as_secs_f64() * 1e6 / steps;
        println!(
            "{micros:.0} µs of processor time for each step, invocations and answers of `schedule` included"
        );
    }
    println!("resident memory under this load: {}", server.memory("VmHWM"));
    Ok(())
}

/// How late steps run that were due after one second.
pub(crate) async fn lateness() -> Result<(), Failure> {
    let (invocations, times) = (1000, 8);
    println!("\n== lateness: {invocations} invocations polling every second, {times} times");
    let server = Server::start("reference-plugins", "warn").await?;
    let ticks = finished(&server, invocations, 1, times).await?;
    let mut late: Vec<Duration> = ticks
        .iter()
        .flat_map(|ticks| ticks.windows(2))
        .map(|pair| Duration::from_secs_f64((pair[1] - pair[0] - 1.0).max(0.0)))
        .collect();
    late.sort_unstable();
    println!(
        "p50 {:.1?}, p99 {:.1?}, most {:.1?} of {} steps (goal: p99 under 50 ms)",
        percentile(&late, 50),
        percentile(&late, 99),
        late.last().copied().unwrap_or_default(),
        late.len()
    );
    println!("resident memory under this load: {}", server.memory("VmHWM"));
    Ok(())
}

/// Invokes, waits for all to finish, and returns the times of each one's steps in seconds.
async fn finished(
    server: &Server,
    invocations: usize,
    interval: u32,
    times: u32,
) -> Result<Vec<Vec<f64>>, Failure> {
    let body = format!(r#"{{"inputs":{{"interval":{interval},"times":{times}}},"context":{{}}}}"#);
    let request = post("/bk_plugin/invoke/9.0.0", &body);
    let calling: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(invoke(server.port, request.clone(), invocations / CALLERS)))
        .collect();
    let mut trace_ids = Vec::with_capacity(invocations);
    for called in calling {
        trace_ids.extend(called.await??);
    }
    let mut connection = Connection::open(server.port).await?;
    // Requests would slow the server down, so they begin only when the end is near.
    tokio::time::sleep(Duration::from_secs(u64::from(interval * times))).await;
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut all = Vec::with_capacity(invocations);
    for trace_id in trace_ids.iter().rev() {
        let request = get(&format!("/bk_plugin/schedule/{trace_id}"));
        loop {
            let answer: Value = serde_json::from_slice(connection.exchange(&request).await?)?;
            let data = &answer["data"];
            if data["state"] == 4 {
                let ticks = data["outputs"]["ticks"].as_array().ok_or("no ticks")?;
                all.push(ticks.iter().filter_map(Value::as_f64).collect());
                break;
            }
            if data["state"] == 5 || Instant::now() > deadline {
                return Err(format!("not finished: {answer}").into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(all)
}

/// Invokes `times` times and returns the trace_ids.
async fn invoke(port: u16, request: Vec<u8>, times: usize) -> Result<Vec<String>, Failure> {
    let mut connection = Connection::open(port).await?;
    let mut trace_ids = Vec::with_capacity(times);
    for _ in 0..times {
        let answer: Value = serde_json::from_slice(connection.exchange(&request).await?)?;
        trace_ids.push(answer["trace_id"].as_str().ok_or("no trace_id")?.to_owned());
    }
    Ok(trace_ids)
}
