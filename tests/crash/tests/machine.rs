//! What the machine does to a real server: its clock is set, its disk is full, its log is not read.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use local_mysql::MariaDb;
use serde_json::json;
use server::{PROGRAM, Server, journal, trace_id};

/// Makes libfaketime set the clocks of a server to the time that a file names, while the server runs, too. The clock
/// that only counts is left alone, as it is by those who set a clock.
fn with_faketime(server: &mut Server) {
    let libraries = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let library = libraries
        .chain([PathBuf::from("/usr/lib")])
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
        .expect("the package libfaketime is installed");
    set_clock(server, "+0");
    server.set("LD_PRELOAD", library.to_str().unwrap());
    server.set("FAKETIME_TIMESTAMP_FILE", &server.path("clock"));
    server.set("FAKETIME_NO_CACHE", "1");
    server.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

fn set_clock(server: &Server, by: &str) {
    // Replaced as a whole, so that the server never reads half of it.
    fs::write(server.path("clock.new"), by).unwrap();
    fs::rename(server.path("clock.new"), server.path("clock")).unwrap();
}

/// An hour is far beyond the patience of [`Server::finished`], and of any lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_an_hour_delays_and_refuses_nothing() {
    for by in ["-1h", "+1h"] {
        let mut server = Server::stopped(&[]);
        with_faketime(&mut server);
        server.start_again().await;
        let journal_file = server.path("journal");
        let inputs = json!({"journal": journal_file, "times": 10, "interval": 300, "work": 100});
        let polling = trace_id(&server.invoke("1.0.0", inputs).await);
        let waiting = server.invoke("2.0.0", json!({})).await;
        let url = waiting["data"]["outputs"]["callback_url"].as_str().unwrap().to_owned();

        set_clock(&server, by);
        assert_eq!(server.finished(&polling).await["state"], 4, "{by}: {}", server.log());
        assert!(server.log().contains("the clock was set"), "{by}: {}", server.log());
        let steps: Vec<u32> = (1..=11).collect();
        assert_eq!(journal(&journal_file)[&polling], steps, "{by}: no step ran twice");
        let (status, answer) = server.post(&url, &json!("one")).await.unwrap();
        assert_eq!(status, 200, "{by}: {answer}");

        // The process that is started again finds what was stored before the clock was set.
        let inputs = json!({"journal": journal_file, "times": 2, "interval": 1500});
        let polling = trace_id(&server.invoke("1.0.0", inputs).await);
        server.kill();
        server.start_again().await;
        assert_eq!(server.finished(&polling).await["state"], 4, "{by}: {}", server.log());
        let (status, answer) = server.post(&url, &json!("end")).await.unwrap();
        assert_eq!(status, 200, "{by}: {answer}");
        let collected = server.finished(&trace_id(&waiting)).await;
        assert_eq!(collected["outputs"]["callbacks"], json!(["one", "end"]), "{by}");
    }
}

/// Processes that share a database go by its clock, so it does not matter what their machines tell.
#[tokio::test(flavor = "multi_thread")]
async fn machines_whose_clocks_are_an_hour_apart_share_a_database() {
    let database = MariaDb::start().await;
    let url = database.url();
    let shared = [("BK_PLUGIN_STORE_URL", url.as_str()), ("BKPAAS_APP_SECRET", "a secret of both")];
    for (by, of_the_other) in [("+1h", "+0"), ("+0", "+1h")] {
        let (mut one, mut other) = (Server::stopped(&shared), Server::stopped(&shared));
        for (server, by) in [(&mut one, by), (&mut other, of_the_other)] {
            with_faketime(server);
            set_clock(server, by);
        }
        one.start_again().await;
        let journal_file = one.path("journal");
        let inputs = json!({"journal": journal_file, "times": 2, "interval": 1000});
        let polling = trace_id(&one.invoke("1.0.0", inputs).await);
        let waiting = one.invoke("2.0.0", json!({})).await;
        one.kill();
        other.start_again().await;
        assert_eq!(other.finished(&polling).await["state"], 4, "{by}: {}", other.log());
        let url = waiting["data"]["outputs"]["callback_url"].as_str().unwrap();
        let path = &url[url.find("/bk_plugin").unwrap()..];
        let (status, answer) = other.post(&other.url(path), &json!("end")).await.unwrap();
        assert_eq!(status, 200, "{by}: {answer}");
        assert_eq!(other.finished(&trace_id(&waiting)).await["state"], 4, "{by}: {}", other.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_that_is_not_read_stops_nothing() {
    let mut server = Server::stopped(&[]);
    let child = server.command(PROGRAM).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    server.child = Some(child);
    server.wait_until_ready().await;
    // Each invocation is within the patience of the test's client.
    for _ in 0..20 {
        let answer = server.invoke("5.0.0", json!({"lines": 10_000})).await;
        assert_eq!(answer["data"]["state"], 4, "{answer}");
    }
    let reading = std::thread::spawn(move || stdout.lines().map(Result::unwrap).collect::<Vec<_>>());
    // The loss is said when there is room for a line again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(server.terminate().success());
    let lines = reading.join().unwrap();
    let lost: Vec<_> = lines.iter().filter(|line| line.contains("log lines were lost")).collect();
    assert!(!lost.is_empty(), "{} lines", lines.len());
    assert!(lines.last().unwrap().contains("stopped"), "nothing is lost at the end: {:?}", lines.last());
}

/// A limit for the size of files is a full disk that takes no right to make.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_is_full_is_not_ready() {
    let mut server = Server::stopped(&[]);
    // In blocks of 512 bytes: 4 MiB. Without the trap a write past the limit would kill the process.
    let limited = "trap '' XFSZ; ulimit -f 8192; exec \"$0\"";
    let mut command = server.command("sh");
    let child = command.args(["-c", limited, PROGRAM]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    server.child = Some(child.unwrap());
    server.wait_until_ready().await;
    let url = server.url("/bk_plugin/invoke/1.0.0");
    let inputs = json!({"journal": server.path("journal"), "times": 1, "interval": 3_600_000});
    let body = json!({"inputs": inputs, "context": {"large": "x".repeat(100_000)}});
    let deadline = Instant::now() + Duration::from_mins(1);
    while server.is_ready().await {
        assert!(Instant::now() < deadline, "it stays ready");
        // Not awaited: when the disk is full, an invocation is refused only after the store's patience.
        tokio::spawn(server.client.post(&url).json(&body).send());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let alive = server.client.get(server.url("/healthz")).send().await.unwrap();
    assert!(alive.status().is_success());
}
