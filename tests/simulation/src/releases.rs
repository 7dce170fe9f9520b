//! Two releases of the framework, and a deployment that goes back and forth between them while an invocation is in
//! flight. The newer one writes messages, and in some worlds records, in a format that the older one cannot read.

use bk_plugin_core::queue::Message;
use bk_plugin_core::store_error::StoreError;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::world::Dice;

/// When each process runs which release.
#[derive(Debug, Clone, Default)]
pub(crate) struct Releases {
    /// When the deployment changes from one release to the other, in milliseconds. The older one is first.
    changes: Vec<i64>,
    /// Time between the changes of two processes, in milliseconds.
    stagger: i64,
    /// Whether the newer release writes records that the older one cannot read.
    pub(crate) new_records: bool,
}

impl Releases {
    /// The releases of a seed: most worlds have one. They are drawn apart from all else, so that a seed means the same
    /// world with and without them.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice::seed_from_u64(seed ^ 0x7e1e_a5e5);
        if !dice.random_ratio(1, 4) {
            return Self::default();
        }
        let new_records = dice.random_ratio(1, 3);
        let mut count = dice.random_range(1..=4);
        if new_records && count % 2 == 0 {
            // Nothing but the newer release can end the invocation.
            count += 1;
        }
        let mut at = 0;
        let changes = (0..count).map(|_| {
            let longest = [1_000, 60_000, 600_000, 8_000_000][dice.random_range(0..4)];
            at += dice.random_range(0..=longest);
            at
        });
        Self { changes: changes.collect(), stagger: [0, 100, 10_000][dice.random_range(0..3)], new_records }
    }

    /// Whether this process runs the newer release at this time.
    pub(crate) fn is_newer(&self, process: usize, now: i64) -> bool {
        let process = i64::try_from(process).unwrap_or(0);
        self.changes.iter().filter(|at| **at + process * self.stagger <= now).count() % 2 == 1
    }

    /// From now on every process runs the newer release, which reads everything.
    pub(crate) fn end_with_newer(&mut self) {
        self.changes = vec![0];
        self.stagger = 0;
    }

    /// Whether any process ever runs the newer release.
    pub(crate) fn are_two(&self) -> bool {
        !self.changes.is_empty()
    }
}

/// A message in the format of the newer release.
pub(crate) fn write_newer(message: &Message) -> Option<String> {
    let mut body: Value = serde_json::from_str(&message.to_body().ok()?).ok()?;
    let kind = body.as_object_mut()?.remove("kind")?;
    body["format"] = json!(2);
    body["request"] = kind;
    Some(body.to_string())
}

/// Reads a message as the newer release does.
pub(crate) fn read_newer(body: &str) -> Option<Message> {
    let mut body: Value = serde_json::from_str(body).ok()?;
    let kind = body.as_object_mut()?.remove("request")?;
    body["format"] = json!(1);
    body["kind"] = kind;
    Message::parse(&body.to_string()).ok()
}

/// What the older release is told of a record of the newer one.
pub(crate) fn unreadable_record() -> StoreError {
    StoreError::Unreadable { what: "record".to_owned(), source: "it has format 2".into() }
}
