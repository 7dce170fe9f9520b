//! Starts the real binary with settings that cannot work: each is answered with one clear error and exit code
//! 1.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Starts the server in `folder`, asserts that it refuses to start, and returns its error output.
fn refused(folder: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_server"))
        .current_dir(folder)
        .env_remove("BKPAAS_APP_SECRET")
        .env("PORT", "0")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    said
}

#[test]
fn wrong_settings_are_named_together() {
    let folder = tempfile::tempdir().unwrap();
    let said = refused(
        folder.path(),
        &[("PORT", "http"), ("BKPAAS_ENVIRONMENT", "prod"), ("SCHEDULE_PERSISTENT_DAYS", "-1")],
    );
    for name in
        ["PORT", "BKPAAS_APP_SECRET", "BKPAAS_APP_ID", "BK_PLUGIN_PUBLIC_URL", "SCHEDULE_PERSISTENT_DAYS"]
    {
        assert!(said.contains(name), "{name} in {said}");
    }
    assert!(!folder.path().join(".bk-plugin").exists(), "nothing was made");
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = refused(folder.path(), &[("PORT", &port)]);
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("PORT"), "{said}");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.db");
    fs::write(&file, "these are my notes, not a database\n".repeat(100)).unwrap();
    let said = refused(folder.path(), &[("BK_PLUGIN_STORE_URL", "sqlite:notes.db")]);
    assert!(said.contains("notes.db"), "{said}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("these are my notes"));
}

#[test]
fn other_stores_and_keys_are_refused_without_repeating_them() {
    let folder = tempfile::tempdir().unwrap();
    let said = refused(folder.path(), &[("BK_PLUGIN_STORE_URL", "postgres://user:hunter2@host/db")]);
    assert!(said.contains("BK_PLUGIN_STORE_URL") && !said.contains("hunter2"), "{said}");
    let said = refused(folder.path(), &[("BK_PLUGIN_CALLBACK_KEY", "hunter2")]);
    assert!(said.contains("BK_PLUGIN_CALLBACK_KEY") && !said.contains("hunter2"), "{said}");
}
