//! The time of the store: a process that is started after the clock was set back goes on with it.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::{Clock as _, SystemClock};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::queue::{Finish, Message, Queue as _};
use bk_plugin_core::table::Table as _;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};

const HOUR: Duration = Duration::from_hours(1);

/// Options of a process whose clock a test sets.
fn with(clock: &Arc<ManualClock>) -> SqliteOptions {
    SqliteOptions { clock: Some(Arc::<ManualClock>::clone(clock)), ..SqliteOptions::default() }
}

#[tokio::test]
async fn a_clock_set_back_by_an_hour_delays_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let before = Arc::new(ManualClock::at(SystemClock.now() + HOUR));
    let store = SqliteStore::open(&path, with(&before)).await.unwrap();
    let message = Message::Finish(Finish::first(TraceId::random()));
    store.send(&message, Duration::from_secs(1)).await.unwrap();
    store.close().await;

    let store = SqliteStore::open(&path, SqliteOptions::default()).await.unwrap();
    assert!(store.clock().now() >= before.now(), "the time of a store never goes back");
    let deliveries = store.receive(1, Duration::from_secs(20)).await.unwrap();
    assert_eq!(deliveries[0].message, message);
    store.close().await;
}

/// A process that is killed has noted the time with its last changes, and when it was asked whether it is ready.
#[tokio::test]
async fn the_time_is_noted_with_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let copied = folder.path().join("copied.db");
    let clock = Arc::new(ManualClock::at(SystemClock.now() + HOUR));
    let store = SqliteStore::open(&path, with(&clock)).await.unwrap();
    for _ in 0..3 {
        clock.advance(HOUR);
        store.ping().await.unwrap();
        for end in ["", "-wal"] {
            let name = |path: &std::path::Path| format!("{}{end}", path.display());
            std::fs::copy(name(&path), name(&copied)).unwrap();
        }
        let after_a_kill = SqliteStore::open(&copied, SqliteOptions::default()).await.unwrap();
        assert!(after_a_kill.clock().now() >= clock.now());
        after_a_kill.close().await;
    }
    store.close().await;
}
