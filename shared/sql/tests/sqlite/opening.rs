//! Opening a file: what is kept, and every way it can go wrong.

use std::path::Path;
use std::time::Duration;

use bk_plugin_core::caller::Caller;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Finish, Message, Queue};
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Table};
use bk_plugin_sql::Store as _;
use bk_plugin_sql::sqlite::{OpenError, SqliteOptions, SqliteStore};
use contract::sample::{START, applied, early, entry, granted, lease};
use serde_json::json;
use sqlx::Connection as _;

use crate::fixture::Fixture;

async fn failure(path: &Path) -> OpenError {
    let error = SqliteStore::open(path, SqliteOptions::default()).await.unwrap_err();
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = error.to_string();
    assert!(text.contains(name) || matches!(error, OpenError::Folder { .. }), "{text}");
    error
}

#[tokio::test]
async fn everything_is_there_again_and_every_lease_is_over() {
    let mut fixture = Fixture::new().await;
    let record = fixture.invocation(State::Poll).await;
    let Lease { token, .. } = fixture.leased(&record.trace_id).await;
    let stub = TraceId::random();
    applied(fixture.store.append(&stub, &early(&entry(json!(1)))).await.unwrap());
    for delay in [0, 5] {
        let message = Message::Finish(Finish::first(record.trace_id.clone()));
        fixture.store.send(&message, Duration::from_secs(delay)).await.unwrap();
    }
    let before = fixture.store.receive(10, Duration::ZERO).await.unwrap();
    assert_eq!(before.len(), 1);

    fixture.reopen().await;
    // It shows that the step was begun.
    let over = Some(Lease { token, until: START });
    assert_eq!(fixture.read(&record.trace_id).await, Record { lease: over, ..record.clone() });
    assert_eq!(fixture.read(&stub).await.inbox.len(), 1);
    granted(fixture.store.claim(&record.trace_id, &ClaimOn::Step(1), &lease(), START).await.unwrap());
    let after = fixture.store.receive(10, Duration::ZERO).await.unwrap();
    assert_eq!(after.len(), 1, "the one in flight comes at once, the delayed one does not");
    assert_eq!(after[0].receive_count, 2);

    // The counters continue where they were, so no row is overwritten.
    let other = fixture.invocation(State::Poll).await.trace_id;
    applied(fixture.store.append(&other, &early(&entry(json!(2)))).await.unwrap());
    assert_eq!(fixture.read(&stub).await.inbox[0].data, json!(1));
}

#[tokio::test]
async fn folders_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/c.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).await.unwrap();
    assert_eq!(store.path(), path);
    store.close().await;
    assert!(path.is_file());
    assert!(!path.with_extension("db-wal").exists(), "closing puts the log away");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let receiver = tokio::spawn(async move { store.receive(1, Duration::from_secs(9)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.store.close().await;
    fixture.store.close().await;
    assert!(receiver.await.unwrap().unwrap().is_empty());
    let trace_id = TraceId::random();
    assert!(matches!(fixture.store.settle(&trace_id).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(fixture.store.read(&trace_id).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(fixture.store.ping().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_second_owner_is_turned_away() {
    let fixture = Fixture::new().await;
    assert!(matches!(failure(&fixture.path()).await, OpenError::Locked { .. }));
    fixture.store.close().await;
    SqliteStore::open(fixture.path(), SqliteOptions::default()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "these are notes, not a database; ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(failure(&path).await, OpenError::Corrupt { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    let mut bytes = std::fs::read(fixture.path()).unwrap();
    // Only the header is intact.
    bytes[100..].fill(0x5a);
    std::fs::write(fixture.path(), bytes).unwrap();
    assert!(matches!(failure(&fixture.path()).await, OpenError::Corrupt { .. }));
}

#[tokio::test]
async fn a_database_from_before_callers_were_kept_goes_on() {
    let fixture = Fixture::new().await;
    let record = fixture.invocation(State::Poll).await;
    fixture.store.close().await;
    let mut connection = fixture.connect().await;
    for back in ["ALTER TABLE calls DROP COLUMN caller", "DELETE FROM _sqlx_migrations WHERE version = 2"] {
        sqlx::query(back).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    let store = SqliteStore::open(fixture.path(), SqliteOptions::default()).await.unwrap();
    let read = store.read(&record.trace_id).await.unwrap().map(|record| *record);
    assert_eq!(read, Some(Record { caller: Caller::default(), ..record }));
    store.close().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let fixture = Fixture::new().await;
    fixture.store.close().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9000, 'of tomorrow', TRUE, x'00', 1)",
    )
    .execute(&mut fixture.connect().await)
    .await
    .unwrap();
    let error = failure(&fixture.path()).await;
    assert!(matches!(error, OpenError::Newer { found: 9000, known: 5, .. }), "{error}");
}

#[tokio::test]
async fn a_folder_is_not_a_file_and_a_file_not_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(failure(folder.path()).await, OpenError::IsFolder { .. }));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(failure(&file.join("a.db")).await, OpenError::Folder { .. }));
}

/// No user can create a file there, not even root.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_place_that_cannot_be_written_is_refused() {
    let error = failure(Path::new("/sys/a.db")).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
}
