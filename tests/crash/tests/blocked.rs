//! The real server binary, while steps and routes keep their threads.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{Server, trace_id};

const LIMIT: &str = "plugin schedule failed: the step took longer than its time limit of 2 s";

/// Longest time a test waits for a fact.
const PATIENCE: Duration = Duration::from_mins(1);

impl Server {
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits for a status of `/healthz`, and returns the text.
    async fn healthz(&self, status: u16) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.get("/healthz").await {
                (now, text) if now == status => return text,
                other => assert!(Instant::now() < deadline, "{other:?}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs an invocation of a version that does not block, to its end.
    async fn other(&self) {
        let inputs = json!({"journal": self.path("journal"), "times": 3, "interval": 50});
        let other = trace_id(&self.invoke("1.0.0", inputs).await);
        assert_eq!(self.finished(&other).await["state"], 4, "{}", self.log());
    }

    /// The lines of the log with this message.
    fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_keep_every_thread_harm_no_other() {
    let server =
        Server::start_with(&[("BK_PLUGIN_STEP_TIME_LIMIT", "2"), ("BK_PLUGIN_HELD_THREADS", "100")]).await;
    let until = server.path("until");
    let mut blocked = Vec::new();
    for number in 0..40 {
        let inputs = json!({"until": until, "spin": number < 2});
        blocked.push(trace_id(&server.invoke("4.0.0", inputs).await));
    }
    for _ in 0..3 {
        server.other().await;
        assert_eq!(server.get("/healthz").await, (200, "alive\n".to_owned()));
    }
    for trace_id in &blocked {
        let data = server.finished(trace_id).await;
        assert_eq!((&data["state"], &data["err"]), (&json!(5), &json!(LIMIT)), "{data}");
    }
    server.other().await;
    let held = server.lines("author code holds its thread without awaiting");
    let mut told: Vec<&str> = held.iter().map(|line| line["trace_id"].as_str().unwrap()).collect();
    told.sort_unstable();
    blocked.sort();
    assert_eq!(told, blocked, "each is told of, once");
    assert!(held.iter().all(|line| line["plugin_version"] == "4.0.0" && line["seconds"].is_number()));
    let (_, metrics) = server.get("/metrics").await;
    let gauge = metrics.lines().find(|line| line.starts_with("bk_plugin_held_threads")).unwrap();
    assert!(gauge.ends_with(" 40"), "{gauge}");
    fs::write(&until, "").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while server.lines("author code kept its thread without awaiting").len() < 40 {
        assert!(Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.other().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_bound_a_version_is_refused_until_its_threads_come_back() {
    let server = Server::start_with(&[("BK_PLUGIN_HELD_THREADS", "2")]).await;
    let until = server.path("until");
    let mut blocked = Vec::new();
    for _ in 0..20 {
        let answer = server.invoke("4.0.0", json!({"until": until})).await;
        // The others hold too many threads before all have begun.
        if answer["data"]["state"] == 2 {
            blocked.push(trace_id(&answer));
        }
    }
    assert!(blocked.len() >= 2);
    let said = server.healthz(503).await;
    assert!(said.starts_with("this process runs no more code of version 4.0.0, which holds "), "{said}");
    let refused = server.invoke("4.0.0", json!({"until": until})).await;
    let err = refused["data"]["err"].as_str().unwrap();
    assert!(
        err.contains("the step was not started: this process runs no more code of version 4.0.0"),
        "{err}"
    );
    server.other().await;
    fs::write(&until, "").unwrap();
    assert_eq!(server.healthz(200).await, "alive\n");
    server.other().await;
    // Nothing that was put back is lost, or has failed.
    for trace_id in &blocked {
        let data = server.finished(trace_id).await;
        assert_eq!(data["state"], 4, "{data}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_keep_their_threads_stop_no_other() {
    let server = Server::start().await;
    let until = server.path("until");
    let path = format!("/bk_plugin/plugin_api/block?{until}");
    let blocked = async { futures::future::join_all((0..20).map(|_| server.get(&path))).await };
    let others = async {
        for _ in 0..20 {
            assert_eq!(server.get("/bk_plugin/plugin_api/quick").await, (200, "quick".to_owned()));
            assert_eq!(server.get("/healthz").await.0, 200);
        }
        server.other().await;
        fs::write(&until, "").unwrap();
    };
    let (blocked, ()) = tokio::join!(blocked, others);
    assert!(blocked.iter().all(|(status, _)| *status == 200), "{blocked:?}");
}
