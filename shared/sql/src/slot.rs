//! One record during a transaction.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::LeaseToken;
use bk_plugin_core::record::{Lease, State};
use bk_plugin_core::table::ClaimOn;

use crate::change::ChangeKind;
use crate::rows::{NewEntry, NewRecord, NewStep};
use crate::rules::{Entry, Head, Verdict};

/// A record during a transaction: its head, and what has to be written of it at the end.
#[derive(Default)]
pub(crate) struct Slot<'a> {
    /// The number of its row; `None` if there was no row when the transaction began.
    pub(crate) id: Option<i64>,
    pub(crate) head: Option<Head>,
    pub(crate) row_changed: bool,
    pub(crate) lease_changed: bool,
    pub(crate) created: Option<&'a NewRecord>,
    pub(crate) texts: Texts<'a>,
    /// Callbacks to be added, with numbers that follow those already in the inbox.
    pub(crate) added: Vec<(i64, &'a NewEntry)>,
    /// The numbers of stored callbacks to be removed, because a step consumed them.
    pub(crate) removed: Vec<i64>,
    latest_entry: i64,
}

/// The columns of a row that are not part of the head. `None` leaves a column as it was.
#[derive(Default)]
pub(crate) struct Texts<'a> {
    pub(crate) plugin_version: Option<&'a str>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) err: Option<&'a str>,
    pub(crate) storage: Option<&'a str>,
    pub(crate) outputs: Option<&'a str>,
}

impl<'a> Slot<'a> {
    /// A record that is stored in row `id`.
    pub(crate) fn stored(id: i64, head: Head) -> Self {
        Self {
            id: Some(id),
            latest_entry: head.inbox.last().map_or(0, |entry| entry.seq),
            head: Some(head),
            ..Self::default()
        }
    }

    pub(crate) fn apply(&mut self, kind: &'a ChangeKind, limit: usize) -> Verdict {
        match kind {
            ChangeKind::Create { new, inbox_len } => self.create(new, *inbox_len, limit),
            ChangeKind::Claim { on, lease, now } => self.claim(on, lease, *now),
            ChangeKind::Commit { token, new } => self.commit(token, new, limit),
            ChangeKind::Append(entry) => self.append(entry, limit),
            ChangeKind::Settle => self.settle(),
            ChangeKind::Release { token } => self.release(token),
        }
    }

    fn create(&mut self, new: &'a NewRecord, inbox_len: Option<usize>, limit: usize) -> Verdict {
        // A missing record counts as a stub with an empty inbox.
        let mut head = self.head.clone().unwrap_or_else(|| Head::stub(new.created_at));
        let verdict = head.create(&new.head, inbox_len, limit);
        if verdict == Verdict::Applied {
            self.head = Some(head);
            self.row_changed = true;
            self.lease_changed = true;
            self.created = Some(new);
            self.texts = Texts {
                plugin_version: Some(&new.plugin_version),
                created_at: Some(new.created_at),
                err: Some(&new.err),
                storage: Some(&new.storage),
                outputs: Some(&new.outputs),
            };
        }
        verdict
    }

    fn claim(&mut self, on: &ClaimOn, lease: &Lease, now: Timestamp) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Refused };
        let verdict = head.claim(on, lease, now);
        self.lease_changed |= verdict == Verdict::Applied;
        verdict
    }

    fn commit(&mut self, token: &LeaseToken, new: &'a NewStep, limit: usize) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Refused };
        let (verdict, consumed) = head.commit(token, &new.step, limit);
        if verdict == Verdict::Applied {
            self.row_changed = true;
            self.lease_changed = true;
            self.texts.err = Some(&new.err);
            self.texts.storage = new.storage.as_deref().or(self.texts.storage);
            self.texts.outputs = new.outputs.as_deref().or(self.texts.outputs);
            if let Some(entry) = consumed {
                self.remove(entry.seq);
            }
        }
        verdict
    }

    /// Removes a callback. One that was added in this transaction is simply not written.
    fn remove(&mut self, entry: i64) {
        match self.added.iter().position(|(seq, _)| *seq == entry) {
            Some(added) => drop(self.added.remove(added)),
            None => self.removed.push(entry),
        }
    }

    fn append(&mut self, new: &'a NewEntry, limit: usize) -> Verdict {
        let mut head = match (&self.head, new.stub) {
            (Some(head), _) => head.clone(),
            (None, Some((_, expires_at))) => Head::stub(expires_at),
            (None, None) => return Verdict::Refused,
        };
        let seq = self.latest_entry + 1;
        let entry = Entry { seq, receipt: new.receipt.clone(), size: new.data.len() };
        let verdict = head.append(entry, limit);
        if verdict == Verdict::Applied {
            self.latest_entry = seq;
            self.added.push((seq, new));
            if let Some((created_at, expires_at)) = new.stub.filter(|_| head.state == State::Empty) {
                // A stub lives as long as the longest-lived callback in it.
                head.expires_at = head.expires_at.max(Some(expires_at));
                if self.head.is_none() {
                    self.texts = Texts::stub(created_at);
                }
                self.row_changed = true;
            }
            self.head = Some(head);
        }
        verdict
    }

    fn release(&mut self, token: &LeaseToken) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Nothing };
        let verdict = head.release(token);
        self.lease_changed |= verdict == Verdict::Applied;
        verdict
    }

    fn settle(&mut self) -> Verdict {
        let Some(head) = &mut self.head else { return Verdict::Nothing };
        let verdict = head.settle();
        self.row_changed |= verdict == Verdict::Applied;
        verdict
    }
}

impl Texts<'_> {
    fn stub(created_at: Timestamp) -> Self {
        Self {
            plugin_version: Some(""),
            created_at: Some(created_at),
            err: Some("\"\""),
            storage: Some("null"),
            outputs: Some("{}"),
        }
    }
}
