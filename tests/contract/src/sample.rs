//! Sample records, leases, commits and callbacks for the cases, and assertions about a store's answers.

use std::time::Duration;

use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{CallbackId, LeaseToken, Receipt, TraceId};
use bk_plugin_core::record::{InboxEntry, Lease, Record, State};
use bk_plugin_core::table::{Append, Claim, Commit, Write};
use serde_json::{Value, json};

/// When the cases begin.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A record with one committed step and without a lease.
pub fn record(state: State) -> Record {
    let mut record = Record::stub(TraceId::random(), START);
    record.state = state;
    record.plugin_version.push_str("1.0.0");
    record.invoke_count = 1;
    record.inputs.insert("b".to_owned(), json!("\u{0} is kept, so is 中文"));
    record.inputs.insert("a".to_owned(), json!(1.5));
    record.caller = Caller { username: Some("\u{0} 管理员".to_owned()), ..Caller::default() };
    record
}

/// A lease of one minute.
pub fn lease() -> Lease {
    Lease { token: LeaseToken::random(), until: START + Duration::from_mins(1) }
}

/// The commit of a second step that polls on.
pub fn polled() -> Commit {
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

/// The commit of a second step that ends the invocation. Its record may be deleted an hour later.
pub fn ended() -> Commit {
    Commit {
        state: State::Fail,
        err: "no \u{0} luck".to_owned(),
        owed: true,
        finish_at: Some(START),
        expires_at: Some(START + Duration::from_hours(1)),
        ..polled()
    }
}

/// A callback.
pub fn entry(data: Value) -> InboxEntry {
    InboxEntry { receipt: Receipt::random(), callback_id: CallbackId::random(), data }
}

/// Appends a callback to a record that must be there.
pub fn late(entry: &InboxEntry) -> Append {
    Append { entry: entry.clone(), stub: None }
}

/// Appends a callback to a record or to a stub, which may be deleted ten minutes after [`START`].
pub fn early(entry: &InboxEntry) -> Append {
    Append { entry: entry.clone(), stub: Some((START, START + Duration::from_mins(10))) }
}

/// Text that compression makes at most a quarter smaller.
pub fn text(length: usize) -> Value {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut dice = Dice::new(length as u64);
    Value::from((0..length).map(|_| char::from(*dice.pick(LETTERS))).collect::<String>())
}

/// Asserts that the write was made.
#[track_caller]
pub fn applied(write: Write) {
    assert!(matches!(write, Write::Applied), "{write:?}");
}

/// Asserts that the write was refused, and returns the record that the store showed.
#[track_caller]
pub fn refused(write: Write) -> Option<Record> {
    match write {
        Write::Refused(record) => record.map(|record| *record),
        Write::Applied => panic!("a write was applied"),
    }
}

/// Asserts that the claim was granted, and returns the record that the store showed.
#[track_caller]
pub fn granted(claim: Claim) -> Record {
    match claim {
        Claim::Granted(record) => *record,
        Claim::Refused(record) => panic!("a claim was refused: {record:?}"),
    }
}

/// Asserts that the claim was refused, and returns the record that the store showed.
#[track_caller]
pub fn not_granted(claim: Claim) -> Option<Record> {
    match claim {
        Claim::Refused(record) => record.map(|record| *record),
        Claim::Granted(record) => panic!("a claim was granted: {record:?}"),
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed; each seed has its own.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    /// True once in `sides` times.
    pub fn once_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    /// One of the given values.
    pub fn pick<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.roll(several.len())]
    }
}
