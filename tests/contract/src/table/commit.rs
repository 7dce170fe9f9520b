//! `Table::commit` and `Table::settle`: the result of a step is written by the holder of its lease.

use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::record::{Deadline, Lease, Record, State};
use bk_plugin_core::table::{ClaimOn, Commit};
use serde_json::json;

use super::{MINUTE, appended, claim, committed, finished, invocation, leased, read, refused_commit};
use crate::TableStore;
use crate::sample::{
    START, applied, early, ended, entry, granted, late, lease, not_granted, polled, refused,
};

/// Fields that the commit does not name stay unchanged. A second commit is refused, because the lease is
/// gone.
pub async fn commit_writes_the_step_and_takes_the_lease_off(store: &dyn TableStore) {
    let table = store.table();
    let before = invocation(&*table, State::Poll).await;
    let lease = leased(&*table, &before.trace_id).await;
    let deadline = Some(Deadline { at: START + Duration::from_secs(9), run: true });
    let commit = Commit { state: State::Callback, deadline, ..polled() };
    let after = committed(&*table, &before.trace_id, &lease, &commit).await;
    let expected = Record {
        state: State::Callback,
        invoke_count: 2,
        storage: json!({ "n": 2 }),
        outputs: json!({ "out": "text" }),
        deadline,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(refused_commit(&*table, &after.trace_id, &lease, &commit).await, after);

    // A commit without a deadline removes the deadline of the step before.
    applied(table.append(&after.trace_id, &late(&entry(json!(1)))).await.unwrap());
    granted(claim(&*table, &after.trace_id, 2, &lease).await);
    let commit = Commit { invoke_count: 3, ..polled() };
    assert_eq!(committed(&*table, &after.trace_id, &lease, &commit).await.deadline, None);
}

/// State, error, finish time and the owed finish callback are on the record; no later claim is granted.
pub async fn commit_that_ends_leaves_nothing_to_claim(store: &dyn TableStore) {
    let table = store.table();
    for (state, owed) in [(State::Success, false), (State::Fail, true)] {
        let before = invocation(&*table, State::Poll).await;
        let lease = leased(&*table, &before.trace_id).await;
        let commit = Commit { state, owed, finish_at: Some(START + MINUTE), ..ended() };
        let done = committed(&*table, &before.trace_id, &lease, &commit).await;
        let expected = Record {
            state,
            owed,
            invoke_count: 2,
            err: "no \u{0} luck".to_owned(),
            storage: json!({ "n": 2 }),
            outputs: json!({ "out": "text" }),
            finish_at: Some(START + MINUTE),
            ..before
        };
        assert_eq!(done, expected);
        not_granted(claim(&*table, &done.trace_id, 2, &lease).await);
        assert_eq!(refused_commit(&*table, &done.trace_id, &lease, &polled()).await, done);
    }
}

/// This includes null, which differs from an absent value.
pub async fn commit_without_storage_and_outputs_leaves_them(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let lease = leased(&*table, &trace_id).await;
    committed(&*table, &trace_id, &lease, &polled()).await;
    granted(claim(&*table, &trace_id, 2, &lease).await);
    let commit = Commit { storage: None, outputs: None, invoke_count: 3, ..polled() };
    let record = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!((record.storage, record.outputs), (json!({ "n": 2 }), json!({ "out": "text" })));
    granted(claim(&*table, &trace_id, 3, &lease).await);
    let commit = Commit { storage: Some(json!(null)), outputs: None, invoke_count: 4, ..ended() };
    let record = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!((record.storage, record.outputs), (json!(null), json!({ "out": "text" })));
}

/// The refused commit creates no record.
pub async fn commit_without_a_record_is_refused(store: &dyn TableStore) {
    let (table, nowhere) = (store.table(), TraceId::random());
    assert_eq!(refused(table.commit(&nowhere, &LeaseToken::random(), &polled()).await.unwrap()), None);
    assert_eq!(table.read(&nowhere).await.unwrap(), None);
}

/// Refused for a record without a lease, for a stub and for a finished invocation.
pub async fn commit_without_the_lease_is_refused(store: &dyn TableStore) {
    let table = store.table();
    let stub = TraceId::random();
    appended(&*table, &stub, &early(&entry(json!(1)))).await;
    let free = invocation(&*table, State::Poll).await.trace_id;
    let taken = invocation(&*table, State::Poll).await.trace_id;
    leased(&*table, &taken).await;
    let done = finished(&*table).await.trace_id;
    for trace_id in [stub, free, taken, done] {
        let before = read(&*table, &trace_id).await;
        assert_eq!(refused_commit(&*table, &trace_id, &lease(), &polled()).await, before);
        assert_eq!(read(&*table, &trace_id).await, before);
    }
}

/// A late runner has lost the step, and does not disturb the current holder of the lease.
pub async fn commit_of_a_lost_lease_is_refused(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let first = leased(&*table, &trace_id).await;
    let second = Lease { token: LeaseToken::random(), until: START + 2 * MINUTE };
    granted(table.claim(&trace_id, &ClaimOn::Step(1), &second, first.until).await.unwrap());
    let record = refused_commit(&*table, &trace_id, &first, &polled()).await;
    assert_eq!(record.lease, Some(second.clone()));
    let record = committed(&*table, &trace_id, &second, &polled()).await;
    assert_eq!(refused_commit(&*table, &trace_id, &first, &ended()).await, record);
}

/// A commit does not look at the time: the lease on the record is what counts.
pub async fn commit_by_an_expired_lease_that_nobody_took_is_made(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let lease = Lease { token: LeaseToken::random(), until: Timestamp::from_millis(1) };
    granted(claim(&*table, &trace_id, 1, &lease).await);
    assert_eq!(committed(&*table, &trace_id, &lease, &polled()).await.invoke_count, 2);
}

/// The runner learns of a callback that came during the step before the step's result is written. The lease
/// stays for the next attempt.
pub async fn commit_wants_the_inbox_it_knows(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let (first, second) = (entry(json!(1)), entry(json!(2)));
    appended(&*table, &trace_id, &late(&first)).await;
    let lease = leased(&*table, &trace_id).await;
    appended(&*table, &trace_id, &late(&second)).await;
    let commit = |length| Commit { consume: true, inbox_len: Some(length), ..polled() };
    for unfit in [0, 1, 3] {
        let record = refused_commit(&*table, &trace_id, &lease, &commit(unfit)).await;
        assert_eq!(record.inbox, [first.clone(), second.clone()]);
        assert_eq!((record.lease, record.invoke_count), (Some(lease.clone()), 1));
    }
    // The known length includes the entry that the commit consumes.
    assert_eq!(committed(&*table, &trace_id, &lease, &commit(2)).await.inbox, [second]);
}

/// A commit consumes a callback only if `consume` is set.
pub async fn commit_consumes_the_oldest_callback(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let (first, second) = (entry(json!(1)), entry(json!(2)));
    for entry in [&first, &second] {
        appended(&*table, &trace_id, &late(entry)).await;
    }
    let lease = leased(&*table, &trace_id).await;
    let commit = Commit { state: State::Callback, ..polled() };
    let record = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!((&record.inbox[..], &record.consumed[..]), (&[first.clone(), second.clone()][..], &[][..]));
    granted(claim(&*table, &trace_id, 2, &lease).await);
    let commit = Commit { invoke_count: 3, consume: true, ..commit };
    let record = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!((record.inbox, record.consumed), (vec![second], vec![first.receipt]));
}

/// No callback exists that the step could have been given.
pub async fn commit_that_consumes_from_an_empty_inbox_is_refused(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let lease = leased(&*table, &trace_id).await;
    for inbox_len in [None, Some(0)] {
        let commit = Commit { consume: true, inbox_len, ..polled() };
        let record = refused_commit(&*table, &trace_id, &lease, &commit).await;
        assert_eq!(record, read(&*table, &trace_id).await);
        assert_eq!(record.lease, Some(lease.clone()));
    }
}

/// Older receipts are forgotten.
pub async fn commit_remembers_the_latest_receipts(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let mut receipts = Vec::new();
    for step in 1..=u32::try_from(Record::CONSUMED_KEPT).unwrap() + 3 {
        let one = entry(json!(step));
        receipts.push(one.receipt.clone());
        appended(&*table, &trace_id, &late(&one)).await;
        let lease = lease();
        granted(claim(&*table, &trace_id, step, &lease).await);
        let commit = Commit { state: State::Callback, invoke_count: step + 1, consume: true, ..polled() };
        applied(table.commit(&trace_id, &lease.token, &commit).await.unwrap());
    }
    let record = read(&*table, &trace_id).await;
    assert_eq!(record.consumed, receipts[3..]);
    assert_eq!(record.inbox, []);
}

/// It succeeds any number of times, also if nothing is owed or there is no record.
pub async fn settle_notes_that_nothing_is_owed(store: &dyn TableStore) {
    let table = store.table();
    let owed = finished(&*table).await;
    assert!(owed.owed);
    for _ in 0..2 {
        table.settle(&owed.trace_id).await.unwrap();
        assert_eq!(read(&*table, &owed.trace_id).await, Record { owed: false, ..owed.clone() });
    }
    let polling = invocation(&*table, State::Poll).await;
    table.settle(&polling.trace_id).await.unwrap();
    assert_eq!(read(&*table, &polling.trace_id).await, polling);
    let nowhere = TraceId::random();
    table.settle(&nowhere).await.unwrap();
    assert_eq!(table.read(&nowhere).await.unwrap(), None);
}
