//! The server takes over invocations that a Python deployment has left in its database.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::process::{Command, Output};
use std::time::Duration;

use bk_plugin_core::clock::{Clock as _, SystemClock};
use bk_plugin_core::ids::{CallbackId, TraceId};
use bk_plugin_engine::callback_token::CallbackKeys;
use local_mysql::MariaDb;
use serde_json::{Value, json};
use server::{Server, journal};

const SECRET: &str = "the secret of the app";

/// The table as Django creates it.
const SCHEDULE: &str = "\
    CREATE TABLE plugin.schedule_schedule (\
        trace_id varchar(33) NOT NULL PRIMARY KEY, plugin_version varchar(128) NOT NULL, state int(11) NOT NULL, \
        invoke_count int(11) NOT NULL, data longtext NOT NULL, scheduling tinyint(1) NOT NULL, err longtext NOT NULL, \
        created_at datetime(6) NOT NULL, finish_at datetime(6) NULL) DEFAULT CHARACTER SET utf8mb4";

async fn insert(
    mariadb: &MariaDb,
    trace_id: &TraceId,
    version: &str,
    state: u8,
    data: &str,
    finish_at: &str,
) {
    mariadb
        .execute(&format!(
            "INSERT INTO plugin.schedule_schedule VALUES ('{trace_id}', '{version}', {state}, 1, '{data}', 0, '', \
             '2026-11-24 08:30:00.250000', {finish_at})"
        ))
        .await;
}

fn data(inputs: &Value, storage: &Value, outputs: &Value) -> String {
    let context = json!({"data": {"executor": "admin"}, "storage": storage, "outputs": outputs});
    json!({"inputs": inputs, "context": context, "outputs": outputs}).to_string()
}

fn import(url: &str, arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_crash-plugins"))
        .arg("import-python")
        .args(arguments)
        .env("BK_PLUGIN_STORE_URL", url)
        .env("BKPAAS_APP_SECRET", SECRET)
        .output()
        .unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_python_left_unfinished_goes_on() {
    let mariadb = MariaDb::start().await;
    let url = mariadb.url();
    assert!(import(&url, &[]).1.contains("no table schedule_schedule"), "a database without Django");

    mariadb.execute(SCHEDULE).await;
    let folder = tempfile::tempdir().unwrap();
    let journal_file = folder.path().join("journal").to_str().unwrap().to_owned();
    let [polling, waiting, finished, unknown, unreadable] = std::array::from_fn(|_| TraceId::random());
    let inputs = json!({"journal": journal_file, "times": 2, "interval": 10});
    insert(&mariadb, &polling, "1.0.0assistant", 2, &data(&inputs, &json!({}), &json!({})), "NULL").await;
    let collected = json!({"callback_url": "of Python", "callbacks": ["before"]});
    insert(&mariadb, &waiting, "2.0.0", 3, &data(&json!({}), &json!({}), &collected), "NULL").await;
    insert(&mariadb, &finished, "1.0.0", 4, "{}", "NOW()").await;

    let (done, said) = import(&url, &["--dry-run"]);
    assert!(done && said.contains(&format!("{polling} 1.0.0assistant POLL: would be taken over")), "{said}");
    assert!(said.contains(&format!("{waiting} 2.0.0 CALLBACK: would be taken over")), "{said}");
    assert!(!said.contains(finished.as_str()), "{said}");

    let (done, said) = import(&url, &[]);
    assert!(done && said.contains("taken over: 2, here before: 0, left: 0"), "{said}");
    let (done, said) = import(&url, &[]);
    assert!(done && said.contains("taken over: 0, here before: 2, left: 0"), "{said}");

    insert(&mariadb, &unknown, "7.0.0", 2, &data(&inputs, &json!({}), &json!({})), "NULL").await;
    insert(&mariadb, &unreadable, "1.0.0", 2, "no JSON", "NULL").await;
    let (done, said) = import(&url, &[]);
    assert!(!done && said.contains(&format!("{unknown} 7.0.0 POLL: left: its version is not")), "{said}");
    assert!(said.contains(unreadable.as_str()) && said.contains("left: 2"), "{said}");

    let server = Server::start_with(&[("BK_PLUGIN_STORE_URL", &url), ("BKPAAS_APP_SECRET", SECRET)]).await;
    let data = server.finished(polling.as_str()).await;
    assert_eq!((&data["state"], &data["created_at"]), (&json!(4), &json!("2026-11-24 16:30:00")), "{data}");
    assert_eq!(journal(&journal_file)[polling.as_str()], [2, 3], "it goes on after the step that Python ran");

    let keys = CallbackKeys::new(SECRET, &[], Duration::from_hours(24)).unwrap();
    let token = keys.mint(&CallbackId::random(), &waiting, SystemClock.now());
    let (status, answer) =
        server.post(&server.url(&format!("/bk_plugin/callback/{token}/")), &json!("end")).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let data = server.finished(waiting.as_str()).await;
    assert_eq!(data["outputs"]["callbacks"], json!(["before", "end"]), "{data}");
}
