//! Many changes of records in one transaction, without a database.
//!
//! They are made in three moves: the heads of all records concerned are read, the rules are applied to them
//! one change after the other ([`apply`]), and what became of them is written. So each move is a few
//! statements, however many changes there are.

use std::collections::{HashMap, HashSet};

use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::ids::{LeaseToken, TraceId};
use bk_plugin_kit::record::{Lease, Record, State};
use bk_plugin_kit::table::{ClaimOn, StoreError};

use crate::request::Answer;
use crate::rows::{HeadRow, NewEntry, NewRecord, NewStep, StoredRecord, unreadable_record};
use crate::rules::{Entry, Head, Verdict};

/// Asks for a change of one record.
pub(crate) struct Change {
    pub(crate) trace_id: TraceId,
    pub(crate) kind: ChangeKind,
    pub(crate) answer: Answer<ChangeAnswer>,
}

pub(crate) enum ChangeKind {
    Create { new: Box<NewRecord>, inbox_len: Option<usize> },
    Claim { on: ClaimOn, lease: Lease, now: Timestamp },
    Commit { token: LeaseToken, new: Box<NewStep> },
    Append(NewEntry),
    Settle,
}

/// What became of a change; the record, if it was refused or claimed.
pub(crate) struct ChangeAnswer {
    pub(crate) applied: bool,
    pub(crate) record: Option<StoredRecord>,
}

/// What became of each change of a transaction, in their order.
pub(crate) type Verdicts = Vec<Result<Verdict, StoreError>>;

/// The records of a transaction, by trace_id; or why one cannot be read.
pub(crate) type Slots<'a> = HashMap<&'a str, Result<Slot<'a>, String>>;

/// A record during a transaction.
#[derive(Default)]
pub(crate) struct Slot<'a> {
    /// The number of its row, if it had one when the transaction began.
    pub(crate) id: Option<i64>,
    pub(crate) head: Option<Head>,
    pub(crate) row_changed: bool,
    pub(crate) lease_changed: bool,
    pub(crate) created: Option<&'a NewRecord>,
    pub(crate) texts: Texts<'a>,
    /// Callbacks to be added. Their numbers go on after those that were there.
    pub(crate) came: Vec<(i64, &'a NewEntry)>,
    /// The numbers of callbacks that were there and were consumed.
    pub(crate) went: Vec<i64>,
    latest_entry: i64,
}

/// What is written of a row besides the head. `None` leaves it as it was.
#[derive(Default)]
pub(crate) struct Texts<'a> {
    pub(crate) plugin_version: Option<&'a str>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) err: Option<&'a str>,
    pub(crate) storage: Option<&'a str>,
    pub(crate) outputs: Option<&'a str>,
}

/// The records that changes are about; none of them has been read yet.
pub(crate) fn slots(changes: &[Change]) -> Slots<'_> {
    changes.iter().map(|change| (change.trace_id.as_str(), Ok(Slot::default()))).collect()
}

/// Puts a record that was read into its slot.
pub(crate) fn fill(slots: &mut Slots<'_>, row: &HeadRow, inbox: Result<Vec<Entry>, String>) {
    let Some(slot) = slots.get_mut(row.trace_id.as_str()) else { return };
    let head = inbox.and_then(|inbox| row.decode(inbox).map_err(|error| error.to_string()));
    *slot = head.map(|head| Slot {
        id: Some(row.id),
        latest_entry: head.inbox.last().map_or(0, |entry| entry.seq),
        head: Some(head),
        ..Slot::default()
    });
}

/// Applies the rules, in an order that every answer fits. They were all asked for at the same time, so any
/// order will do; but a change that is refused is answered with the record as the transaction leaves it, and
/// that must show why. So what was refused is tried again after the others have been made, and claims, which
/// every change may help or hinder, come last.
pub(crate) fn apply<'a>(slots: &mut Slots<'a>, changes: &'a [Change], limit: usize) -> Verdicts {
    let mut verdicts: Vec<_> = changes.iter().map(|_| Ok(Verdict::Refused)).collect();
    let mut attempt = |claims: bool| {
        let mut is_made = false;
        for (change, verdict) in changes.iter().zip(&mut verdicts) {
            let is_claim = matches!(change.kind, ChangeKind::Claim { .. });
            if is_claim != claims || !matches!(verdict, Ok(Verdict::Refused)) {
                continue;
            }
            let trace_id = change.trace_id.as_str();
            *verdict = match slots.get_mut(trace_id) {
                Some(Ok(slot)) => Ok(slot.apply(&change.kind, limit)),
                Some(Err(error)) => Err(unreadable_record(trace_id, error.clone().into())),
                None => Ok(Verdict::Refused),
            };
            is_made |= matches!(verdict, Ok(Verdict::Applied));
        }
        is_made
    };
    while attempt(false) {}
    attempt(true);
    verdicts
}

impl<'a> Slot<'a> {
    fn apply(&mut self, kind: &'a ChangeKind, limit: usize) -> Verdict {
        match kind {
            ChangeKind::Create { new, inbox_len } => self.create(new, *inbox_len, limit),
            ChangeKind::Claim { on, lease, now } => self.claim(on, lease, *now),
            ChangeKind::Commit { token, new } => self.commit(token, new, limit),
            ChangeKind::Append(entry) => self.append(entry, limit),
            ChangeKind::Settle => self.settle(),
        }
    }

    fn create(&mut self, new: &'a NewRecord, inbox_len: Option<usize>, limit: usize) -> Verdict {
        // No record is like a stub with an empty inbox here.
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
                self.consume(entry.seq);
            }
        }
        verdict
    }

    /// One that came in this transaction was never written.
    fn consume(&mut self, entry: i64) {
        match self.came.iter().position(|(seq, _)| *seq == entry) {
            Some(came) => drop(self.came.remove(came)),
            None => self.went.push(entry),
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
            self.came.push((seq, new));
            if let Some((created_at, expires_at)) = new.stub.filter(|_| head.state == State::Empty) {
                // A stub lives as long as the youngest callback in it may.
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

impl Change {
    /// Bytes it brings.
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            ChangeKind::Create { new, .. } => {
                let sizes = new.head.sizes;
                sizes.call + sizes.storage + sizes.outputs + new.err.len()
            }
            ChangeKind::Commit { new, .. } => {
                new.step.storage.unwrap_or(0) + new.step.outputs.unwrap_or(0) + new.err.len()
            }
            ChangeKind::Append(entry) => entry.data.len(),
            ChangeKind::Claim { .. } | ChangeKind::Settle => 0,
        }
    }

    fn is_answered_with_record(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Refused => true,
            Verdict::Applied => matches!(self.kind, ChangeKind::Claim { .. }),
            Verdict::Nothing | Verdict::TooLarge(_) | Verdict::InboxFull => false,
        }
    }
}

/// The records that are part of an answer.
pub(crate) fn wanted<'a>(changes: &'a [Change], verdicts: &Verdicts) -> HashSet<&'a str> {
    changes
        .iter()
        .zip(verdicts)
        .filter(|(change, verdict)| {
            verdict.as_ref().is_ok_and(|verdict| change.is_answered_with_record(*verdict))
        })
        .map(|(change, _)| change.trace_id.as_str())
        .collect()
}

/// The answers to changes, in their order, of which `records` are part.
pub(crate) fn answers(
    changes: &[Change],
    verdicts: Verdicts,
    records: &HashMap<String, StoredRecord>,
    limit: usize,
) -> Vec<Result<ChangeAnswer, StoreError>> {
    let answers = changes.iter().zip(verdicts);
    answers.map(|(change, verdict)| answer(change, verdict?, records, limit)).collect()
}

fn answer(
    change: &Change,
    verdict: Verdict,
    records: &HashMap<String, StoredRecord>,
    limit: usize,
) -> Result<ChangeAnswer, StoreError> {
    let applied = match verdict {
        Verdict::TooLarge(size) => return Err(StoreError::TooLarge { size, limit }),
        Verdict::InboxFull => return Err(StoreError::InboxFull { limit: Record::LARGEST_INBOX }),
        Verdict::Applied | Verdict::Nothing => true,
        Verdict::Refused => false,
    };
    let record =
        change.is_answered_with_record(verdict).then(|| records.get(change.trace_id.as_str()).cloned());
    Ok(ChangeAnswer { applied, record: record.flatten() })
}
