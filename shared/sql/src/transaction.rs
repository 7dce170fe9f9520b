//! Many changes of records in one transaction, in three moves: read the heads of all records concerned, apply the
//! rules to them one change after the other, write the result. So each move takes a few statements, however many
//! changes there are.

use std::collections::{HashMap, HashSet};

use bk_plugin_core::record::Record;
use bk_plugin_core::store_error::StoreError;

use crate::change::{Change, ChangeAnswer, ChangeKind};
use crate::rows::{HeadRow, StoredRecord, unreadable_record};
use crate::rules::{Entry, Head, Verdict};
use crate::slot::Slot;

/// The tables of records, in a transaction that has begun.
pub(crate) trait Records {
    /// Reads the heads of the records that `changes` name. No other writer changes them until the transaction
    /// ends.
    fn load<'a>(
        &mut self,
        changes: &'a [Change],
    ) -> impl Future<Output = Result<Slots<'a>, sqlx::Error>> + Send;

    /// Writes what has changed in the slots.
    fn save(&mut self, slots: &Slots<'_>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads whole records, by trace_id.
    fn read(
        &mut self,
        trace_ids: &[&str],
    ) -> impl Future<Output = Result<HashMap<String, StoredRecord>, sqlx::Error>> + Send;
}

/// The records of a transaction, by trace_id; an error in place of one that cannot be read.
pub(crate) type Slots<'a> = HashMap<&'a str, Result<Slot<'a>, String>>;

/// The verdicts on the changes of a transaction, in the order of the changes.
type Verdicts = Vec<Result<Verdict, StoreError>>;

/// Makes changes and returns their answers, in the order of the changes. `limit`: bytes a record may have.
pub(crate) async fn change(
    records: &mut impl Records,
    changes: &[Change],
    limit: usize,
) -> Result<Vec<Result<ChangeAnswer, StoreError>>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut slots = records.load(changes).await?;
    let verdicts = apply(&mut slots, changes, limit);
    records.save(&slots).await?;
    let wanted: Vec<_> = wanted(changes, &verdicts).into_iter().collect();
    let records = if wanted.is_empty() { HashMap::new() } else { records.read(&wanted).await? };
    let answers = changes.iter().zip(verdicts);
    Ok(answers.map(|(change, verdict)| answer(change, verdict?, &records, limit)).collect())
}

/// An empty slot for each record that `changes` name.
pub(crate) fn slots(changes: &[Change]) -> Slots<'_> {
    changes.iter().map(|change| (change.trace_id.as_str(), Ok(Slot::default()))).collect()
}

/// Puts a record that was read into its slot.
pub(crate) fn fill(slots: &mut Slots<'_>, row: &HeadRow, inbox: Result<Vec<Entry>, String>) {
    let Some(slot) = slots.get_mut(row.trace_id.as_str()) else { return };
    let head = inbox.and_then(|inbox| row.decode(inbox).map_err(|error| error.to_string()));
    *slot = head.map(|head| Slot::stored(row.id, head));
}

/// The records that exist now and can be read.
pub(crate) fn existing<'a>(slots: &'a Slots<'a>) -> impl Iterator<Item = (&'a str, &'a Slot<'a>, &'a Head)> {
    slots.iter().filter_map(|(trace_id, slot)| {
        let slot = slot.as_ref().ok()?;
        Some((*trace_id, slot, slot.head.as_ref()?))
    })
}

/// Applies the changes of one transaction in an order that makes every answer true. The callers asked
/// concurrently, so any order is allowed; but a refused change is answered with the record as it is after the
/// transaction, which must explain the refusal. So refused changes are retried until none succeeds, and claims,
/// which any change may enable or block, come last.
fn apply<'a>(slots: &mut Slots<'a>, changes: &'a [Change], limit: usize) -> Verdicts {
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

/// The trace_ids of the records that answers hold.
fn wanted<'a>(changes: &'a [Change], verdicts: &Verdicts) -> HashSet<&'a str> {
    changes
        .iter()
        .zip(verdicts)
        .filter(|(change, verdict)| {
            verdict.as_ref().is_ok_and(|verdict| is_answered_with_record(change, *verdict))
        })
        .map(|(change, _)| change.trace_id.as_str())
        .collect()
}

fn is_answered_with_record(change: &Change, verdict: Verdict) -> bool {
    match verdict {
        Verdict::Refused => true,
        Verdict::Applied => matches!(change.kind, ChangeKind::Claim { .. }),
        Verdict::Nothing | Verdict::TooLarge(_) | Verdict::InboxFull => false,
    }
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
        is_answered_with_record(change, verdict).then(|| records.get(change.trace_id.as_str()).cloned());
    Ok(ChangeAnswer { applied, record: record.flatten() })
}
