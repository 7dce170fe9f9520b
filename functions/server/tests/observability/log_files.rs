//! The files in `BKPAAS_APP_LOG_PATH`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::caller::{invoke, succeeded};
use crate::common::Server;

const FILE_SIZE: u64 = 64 * 1024;

fn start(folder: &Path) -> Server {
    Server::start_with(&[
        ("BKPAAS_APP_LOG_PATH", folder.to_str().unwrap()),
        ("BKPAAS_LOG_NAME_PREFIX", "default-bkapp-demo-prod-web"),
        ("BK_PLUGIN_LOG_FILE_SIZE", &FILE_SIZE.to_string()),
        ("BK_PLUGIN_LOG_FILES_KEPT", "3"),
    ])
}

/// The log files of one server: names and lines.
fn files(folder: &Path, server: &Server) -> Vec<(String, Vec<Value>)> {
    let process = format!("-{}-server.log", server.pid());
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let own = entries.filter(|path| path.to_str().unwrap().contains(&process));
    own.map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), lines)
    })
    .collect()
}

fn trace_ids(files: &[(String, Vec<Value>)]) -> BTreeSet<String> {
    let lines = files.iter().flat_map(|(_, lines)| lines);
    lines.filter_map(|line| Some(line["trace_id"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn every_process_writes_its_own_and_every_line_has_its_fields() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = [start(folder.path()), start(folder.path())];
    let mut invocations = Vec::new();
    for server in &mut servers {
        let polling = invoke(server, "1.1.0", json!({ "times": 2, "interval": 0 })).await;
        let trace_id = polling["trace_id"].as_str().unwrap().to_owned();
        succeeded(server, &trace_id).await;
        server.stop();
        invocations.push(trace_id);
    }
    for (server, trace_id) in servers.iter().zip(invocations) {
        let files = files(folder.path(), server);
        assert_eq!(files.len(), 1, "{files:?}");
        let (name, lines) = &files[0];
        assert!(name.starts_with("default-bkapp-demo-prod-web-"), "{name}");
        for line in lines {
            for field in ["message", "levelname", "funcName", "pathname", "asctime"] {
                assert!(line[field].is_string(), "{field} in {line}");
            }
        }
        assert_eq!(trace_ids(&files), BTreeSet::from([trace_id.clone()]));
        let of_steps = lines.iter().filter(|line| line["trace_id"] == trace_id.as_str());
        assert!(of_steps.count() >= 3, "each step says how it ended");
        let on_stdout = server.stdout();
        let on_stdout: Vec<Value> =
            on_stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(&on_stdout, lines, "standard output has the same lines");
    }
}

#[tokio::test]
async fn files_are_rotated_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let hello = "x".repeat(2000);
    for _ in 0..200 {
        invoke(&server, "1.0.0", json!({ "hello": hello })).await;
    }
    server.stop();
    let files = files(folder.path(), &server);
    let ending = |name: &'_ str| name.split_once(".log").unwrap().1.to_owned();
    let endings: BTreeSet<_> = files.iter().map(|(name, _)| ending(name)).collect();
    assert_eq!(
        endings,
        BTreeSet::from(["", ".1", ".2", ".3"].map(ToOwned::to_owned)),
        "three are kept beside the one written"
    );
    for (name, _) in &files {
        let size = fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size <= FILE_SIZE, "{name} has {size} bytes");
    }
    let last = files.iter().find(|(name, _)| ending(name).is_empty()).unwrap();
    assert_eq!(last.1.last().unwrap()["message"], "stopped");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut server = start(&file.join("logs"));
    let answer = invoke(&server, "1.0.0", json!({ "hello": "world" })).await;
    assert_eq!(answer["result"], true);
    server.stop();
    let said = server.stdout();
    assert!(said.contains("no log files are written") && said.contains("BKPAAS_APP_LOG_PATH"), "{said}");
}
