//! A store in a folder of its own, with a clock that the test moves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::{Clock, Timestamp};
use bk_plugin_kit::ids::{CallbackId, LeaseToken, Receipt, TraceId};
use bk_plugin_kit::record::{InboxEntry, Lease, Record, State};
use bk_plugin_kit::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::watch;

/// Where the clock of a test begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_000_000);

/// A clock that stands still until it is moved.
pub(crate) struct ManualClock {
    now: watch::Sender<Timestamp>,
    /// How often somebody asked for the time.
    pub(crate) asked: AtomicUsize,
}

impl ManualClock {
    pub(crate) fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = *now + duration);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut now = self.now.subscribe();
        let until = *now.borrow() + duration;
        now.wait_for(|now| *now >= until).await.unwrap();
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) options: SqliteOptions,
    pub(crate) folder: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock { now: watch::Sender::new(START), asked: AtomicUsize::new(0) });
        let options = SqliteOptions {
            visibility_timeout: Duration::from_secs(30),
            largest_record: 10_000,
            clock: clock.clone(),
            ..SqliteOptions::default()
        };
        let store = Arc::new(SqliteStore::open(folder.path().join("a.db"), options.clone()).await.unwrap());
        Self { store, clock, options, folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    /// Closes the store and opens the same file again.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.open().await;
    }

    pub(crate) async fn open(&mut self) {
        self.store = Arc::new(SqliteStore::open(self.path(), self.options.clone()).await.unwrap());
    }

    /// A connection to the file beside the store's.
    pub(crate) async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect(self.path().to_str().unwrap()).await.unwrap()
    }

    /// A record in POLL or CALLBACK with one committed step.
    pub(crate) async fn invocation(&self, state: State) -> Record {
        let record = record(state);
        applied(self.store.create(&record, None).await.unwrap());
        record
    }

    pub(crate) async fn read(&self, trace_id: &TraceId) -> Record {
        *self.store.read(trace_id).await.unwrap().expect("there is a record")
    }

    pub(crate) async fn claim(&self, trace_id: &TraceId, on: &ClaimOn, lease: &Lease) -> Claim {
        self.store.claim(trace_id, on, lease, self.clock.now()).await.unwrap()
    }

    /// A lease of one minute, granted after one committed step.
    pub(crate) async fn leased(&self, trace_id: &TraceId) -> Lease {
        let lease = lease();
        granted(self.claim(trace_id, &ClaimOn::Step(1), &lease).await);
        lease
    }
}

pub(crate) fn record(state: State) -> Record {
    let mut record = Record::stub(TraceId::random(), START);
    record.state = state;
    record.plugin_version.push_str("1.0.0");
    record.invoke_count = 1;
    record.inputs.insert("b".to_owned(), json!("\u{0} is kept, so is 中文"));
    record.inputs.insert("a".to_owned(), json!(1.5));
    record
}

pub(crate) fn lease() -> Lease {
    Lease { token: LeaseToken::random(), until: START + Duration::from_mins(1) }
}

/// The commit of a second step that polls on.
pub(crate) fn polled() -> Commit {
    Commit {
        state: State::Poll,
        invoke_count: 2,
        storage: Some(json!({ "n": 2 })),
        outputs: Some(json!({ "out": "text" })),
        err: String::new(),
        deadline: None,
        consume: false,
        owed: false,
        finish_at: None,
        expires_at: None,
        inbox_len: None,
    }
}

/// The commit of a second step that ends the invocation.
pub(crate) fn ended() -> Commit {
    Commit {
        state: State::Fail,
        err: "no \u{0} luck".to_owned(),
        owed: true,
        finish_at: Some(START),
        expires_at: Some(START + Duration::from_hours(1)),
        ..polled()
    }
}

pub(crate) fn entry(data: Value) -> InboxEntry {
    InboxEntry { receipt: Receipt::random(), callback_id: CallbackId::random(), data }
}

pub(crate) fn late(entry: &InboxEntry) -> Append {
    Append { entry: entry.clone(), stub: None }
}

pub(crate) fn early(entry: &InboxEntry) -> Append {
    Append { entry: entry.clone(), stub: Some((START, START + Duration::from_mins(10))) }
}

#[track_caller]
pub(crate) fn applied(write: Write) {
    assert!(matches!(write, Write::Applied), "{write:?}");
}

#[track_caller]
pub(crate) fn refused(write: Write) -> Option<Record> {
    match write {
        Write::Refused(record) => record.map(|record| *record),
        Write::Applied => panic!("a write was applied"),
    }
}

#[track_caller]
pub(crate) fn granted(claim: Claim) -> Record {
    match claim {
        Claim::Granted(record) => *record,
        Claim::Refused(record) => panic!("a claim was refused: {record:?}"),
    }
}

#[track_caller]
pub(crate) fn not_granted(claim: Claim) -> Option<Record> {
    match claim {
        Claim::Refused(record) => record.map(|record| *record),
        Claim::Granted(record) => panic!("a claim was granted: {record:?}"),
    }
}
