//! `/metrics`.

use bk_plugin_engine::metrics::{
    BUCKETS, CALLBACK_TIME, DEAD_LETTERS, EXECUTE_FAILED_COUNT, EXECUTE_RUNNING_PROCESSES, EXECUTE_TIME,
    QUEUE_DEPTH, SCHEDULE_RUNNING_PROCESSES, SCHEDULE_TIME, STORE_TIME, WAKE_UP_LATENESS,
};
use serde_json::json;

use crate::caller::{client, invoke, succeeded};
use crate::common::Server;

/// The lines of `/metrics`.
struct Shown(Vec<String>);

impl Shown {
    async fn by(server: &Server) -> Self {
        let answer = client().get(format!("http://127.0.0.1:{}/metrics", server.port)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Self(answer.text().await.unwrap().lines().map(ToOwned::to_owned).collect())
    }

    /// The value of the sample with this name and these labels, whatever other labels it has.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let lines = self.0.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let mut found = lines.filter(|rest| wanted.iter().all(|label| rest.contains(label.as_str())));
        found.next()?.rsplit_once(' ')?.1.parse().ok()
    }

    fn has(&self, line: &str) -> bool {
        self.0.iter().any(|shown| shown == line)
    }
}

fn hostname() -> String {
    gethostname::gethostname().into_string().unwrap()
}

#[tokio::test]
async fn names_and_labels_are_the_references() {
    let server = Server::start();
    invoke(&server, "1.0.0", json!({ "hello": "world" })).await;
    invoke(&server, "1.0.0", json!({ "hello": {} })).await;
    let polling = invoke(&server, "1.1.0", json!({ "times": 2, "interval": 0 })).await;
    succeeded(&server, polling["trace_id"].as_str().unwrap()).await;
    let called = invoke(&server, "1.2.0", json!({})).await;
    for report in [1, 2] {
        let url = called["data"]["outputs"]["job_url"].as_str().unwrap();
        let answer = client().post(url).json(&report).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    succeeded(&server, called["trace_id"].as_str().unwrap()).await;

    let shown = Shown::by(&server).await;
    let host = hostname();
    let of = |version| [("version", version), ("hostname", host.as_str())];
    for (name, version, count) in [
        (EXECUTE_TIME, "1.0.0", 2.0),
        (EXECUTE_TIME, "1.1.0", 1.0),
        (SCHEDULE_TIME, "1.1.0", 2.0),
        (SCHEDULE_TIME, "1.2.0", 2.0),
        (CALLBACK_TIME, "1.2.0", 2.0),
    ] {
        assert!(shown.has(&format!("# TYPE {name} histogram")), "{name}");
        assert_eq!(shown.value(&format!("{name}_count"), &of(version)), Some(count), "{name} {version}");
        for bound in BUCKETS {
            let labels = [of(version)[0], of(version)[1], ("le", &bound.to_string())];
            assert!(shown.value(&format!("{name}_bucket"), &labels).is_some(), "{name} {bound}");
        }
    }
    assert_eq!(shown.value(&format!("{CALLBACK_TIME}_count"), &of("1.1.0")), None);
    assert!(shown.has(&format!("# TYPE {EXECUTE_FAILED_COUNT}_total counter")));
    assert_eq!(shown.value(&format!("{EXECUTE_FAILED_COUNT}_total"), &of("1.0.0")), Some(1.0));
    for name in [EXECUTE_RUNNING_PROCESSES, SCHEDULE_RUNNING_PROCESSES] {
        assert!(shown.has(&format!("# TYPE {name} gauge")), "{name}");
        assert_eq!(shown.value(name, &of("1.1.0")), Some(0.0), "{name}: nothing runs");
    }
}

#[tokio::test]
async fn queue_and_store_are_shown() {
    let server = Server::start();
    let waits = invoke(&server, "1.1.0", json!({ "times": 1, "interval": 3600 })).await;
    assert_eq!(waits["data"]["state"], 2);
    let polling = invoke(&server, "1.1.0", json!({ "times": 1, "interval": 0 })).await;
    succeeded(&server, polling["trace_id"].as_str().unwrap()).await;

    let shown = Shown::by(&server).await;
    assert_eq!(shown.value(QUEUE_DEPTH, &[("state", "delayed")]), Some(1.0));
    for state in ["due", "in_flight"] {
        assert!(shown.value(QUEUE_DEPTH, &[("state", state)]).is_some(), "{state}");
    }
    assert_eq!(shown.value(DEAD_LETTERS, &[]), Some(0.0));
    assert_eq!(shown.value(&format!("{WAKE_UP_LATENESS}_count"), &[("version", "1.1.0")]), Some(1.0));
    for operation in ["create", "claim", "commit", "send"] {
        let count = shown.value(&format!("{STORE_TIME}_count"), &[("operation", operation)]);
        assert!(count.is_some_and(|count| count > 0.0), "{operation}");
    }

    invoke(&server, "1.1.0", json!({ "times": 1, "interval": 3600 })).await;
    let again = Shown::by(&server).await;
    let depth = again.value(QUEUE_DEPTH, &[("state", "delayed")]);
    assert_eq!(depth, Some(1.0), "rows are not counted for every scrape");
}

#[tokio::test]
async fn a_scraper_has_no_jwt_and_learns_no_secret() {
    let server = Server::start_with(&[
        ("BKPAAS_ENVIRONMENT", "prod"),
        ("BKPAAS_APP_ID", "demo"),
        ("BKPAAS_APP_SECRET", "hunter2"),
        ("BK_PLUGIN_HOST", "127.0.0.1"),
        ("BK_PLUGIN_PUBLIC_URL", "https://plugin.example.com"),
    ]);
    let refused = invoke(&server, "1.0.0", json!({ "hello": "world" })).await;
    assert_eq!(refused["result"], false);
    let Shown(lines) = Shown::by(&server).await;
    assert!(!lines.is_empty() && !lines.iter().any(|line| line.contains("hunter2")));
}
