//! The conditions of every write.

use std::time::Duration;

use bk_plugin_kit::clock::Clock as _;
use bk_plugin_kit::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_kit::record::{Deadline, FinishCallback, Lease, Record, State};
use bk_plugin_kit::table::{ClaimOn, Commit, StoreError, Table, Write};
use serde_json::{Value, json};

use crate::fixture::{
    Fixture, START, applied, early, ended, entry, granted, late, lease, not_granted, polled, record, refused,
};

#[tokio::test]
async fn a_record_reads_back_as_it_was_written() {
    let fixture = Fixture::new().await;
    let mut record = record(State::Callback);
    record.context.insert("operator".to_owned(), json!("admin"));
    record.storage = json!([1, null, { "z": "\"", "a": 1e300 }]);
    record.outputs = json!({});
    record.err = "a \u{0} \"quoted\" 'word'".to_owned();
    record.deadline = Some(Deadline { at: START, run: true });
    record.finish_callback =
        Some(FinishCallback { url: "http://x/".to_owned(), data: record.inputs.clone() });
    record.owed = true;
    record.lease = Some(lease());
    record.consumed = vec![Receipt::random(), Receipt::random()];
    record.finish_at = Some(START);
    applied(fixture.store.create(&record, Some(0)).await.unwrap());
    let read = fixture.read(&record.trace_id).await;
    assert_eq!(read, record);
    let keys: Vec<_> = read.inputs.keys().collect();
    assert_eq!(keys, ["b", "a"], "the order of keys is kept");
    assert!(fixture.store.read(&TraceId::random()).await.unwrap().is_none());
    fixture.store.ping().await.unwrap();
}

#[tokio::test]
async fn create_is_refused_where_an_invocation_is() {
    let fixture = Fixture::new().await;
    let first = fixture.invocation(State::Poll).await;
    let mut second = first.clone();
    second.plugin_version = "2.0.0".to_owned();
    assert_eq!(refused(fixture.store.create(&second, None).await.unwrap()), Some(first.clone()));
    assert_eq!(fixture.read(&first.trace_id).await, first);
}

#[tokio::test]
async fn create_over_a_stub_keeps_the_inbox() {
    let fixture = Fixture::new().await;
    let record = record(State::Callback);
    let (first, second) = (entry(json!({ "n": 1 })), entry(json!("two")));
    applied(fixture.store.append(&record.trace_id, &early(&first)).await.unwrap());
    applied(fixture.store.append(&record.trace_id, &early(&second)).await.unwrap());
    let mut stub = Record::stub(record.trace_id.clone(), START);
    stub.inbox = vec![first, second];
    assert_eq!(fixture.read(&record.trace_id).await, stub);

    applied(fixture.store.create(&record, None).await.unwrap());
    let expected = Record { inbox: stub.inbox, ..record.clone() };
    assert_eq!(fixture.read(&record.trace_id).await, expected);
    // What was a stub does not expire any more.
    assert_eq!(fixture.store.delete_expired(START + Duration::from_hours(9), 10).await.unwrap(), 0);
}

#[tokio::test]
async fn create_wants_the_inbox_it_knows() {
    let fixture = Fixture::new().await;
    let record = record(State::Callback);
    assert_eq!(refused(fixture.store.create(&record, Some(1)).await.unwrap()), None);
    applied(fixture.store.append(&record.trace_id, &early(&entry(json!(1)))).await.unwrap());
    let stub = refused(fixture.store.create(&record, Some(0)).await.unwrap()).unwrap();
    assert!(stub.is_stub());
    assert_eq!(stub.inbox.len(), 1);
    applied(fixture.store.create(&record, Some(1)).await.unwrap());
}

#[tokio::test]
async fn claim_by_step_wants_that_many_steps() {
    let fixture = Fixture::new().await;
    let record = fixture.invocation(State::Poll).await;
    for other in [0, 2] {
        let refused = not_granted(fixture.claim(&record.trace_id, &ClaimOn::Step(other), &lease()).await);
        assert_eq!(refused, Some(record.clone()));
    }
    let lease = lease();
    let claimed = granted(fixture.claim(&record.trace_id, &ClaimOn::Step(1), &lease).await);
    assert_eq!(claimed, Record { lease: Some(lease), ..record });
    assert_eq!(fixture.read(&claimed.trace_id).await, claimed);
}

#[tokio::test]
async fn claim_finds_no_record_no_stub_and_no_finished_invocation() {
    let fixture = Fixture::new().await;
    let nowhere = TraceId::random();
    assert_eq!(not_granted(fixture.claim(&nowhere, &ClaimOn::Step(0), &lease()).await), None);

    let early_one = entry(json!(1));
    applied(fixture.store.append(&nowhere, &early(&early_one)).await.unwrap());
    for on in [ClaimOn::Step(0), ClaimOn::Receipt(early_one.receipt)] {
        assert!(not_granted(fixture.claim(&nowhere, &on, &lease()).await).unwrap().is_stub());
    }

    let done = fixture.invocation(State::Poll).await.trace_id;
    let lease = fixture.leased(&done).await;
    applied(fixture.store.commit(&done, &lease.token, &ended()).await.unwrap());
    let refused = not_granted(fixture.claim(&done, &ClaimOn::Step(2), &lease).await).unwrap();
    assert_eq!((refused.state, refused.owed, refused.lease), (State::Fail, true, None));
}

#[tokio::test]
async fn claim_respects_a_live_lease_and_takes_over_a_dead_one() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Poll).await.trace_id;
    let first = fixture.leased(&trace_id).await;
    let second = Lease { token: LeaseToken::random(), until: START + Duration::from_mins(5) };
    fixture.clock.advance(Duration::from_millis(59_999));
    let refused = not_granted(fixture.claim(&trace_id, &ClaimOn::Step(1), &second).await);
    assert_eq!(refused.unwrap().lease, Some(first.clone()));
    fixture.clock.advance(Duration::from_millis(1));
    let claimed = granted(fixture.claim(&trace_id, &ClaimOn::Step(1), &second).await);
    assert_eq!(claimed.lease, Some(second.clone()));

    // The first one is late.
    let record = refused_commit(&fixture, &trace_id, &first.token, &polled()).await;
    assert_eq!(record.lease, Some(second.clone()));
    applied(fixture.store.commit(&trace_id, &second.token, &polled()).await.unwrap());
}

#[tokio::test]
async fn claim_in_callback_wants_a_callback_or_the_deadline() {
    let fixture = Fixture::new().await;
    let mut waiting = record(State::Callback);
    waiting.deadline = Some(Deadline { at: START + Duration::from_secs(5), run: false });
    applied(fixture.store.create(&waiting, None).await.unwrap());
    fixture.clock.advance(Duration::from_millis(4_999));
    not_granted(fixture.claim(&waiting.trace_id, &ClaimOn::Step(1), &lease()).await);
    fixture.clock.advance(Duration::from_millis(1));
    granted(fixture.claim(&waiting.trace_id, &ClaimOn::Step(1), &lease()).await);

    let called = fixture.invocation(State::Callback).await.trace_id;
    not_granted(fixture.claim(&called, &ClaimOn::Step(1), &lease()).await);
    applied(fixture.store.append(&called, &late(&entry(json!(1)))).await.unwrap());
    granted(fixture.claim(&called, &ClaimOn::Step(1), &lease()).await);
}

#[tokio::test]
async fn claim_by_receipt_wants_callback_and_the_receipt() {
    let fixture = Fixture::new().await;
    let one = entry(json!(1));
    let on = ClaimOn::Receipt(one.receipt.clone());

    let polling = fixture.invocation(State::Poll).await.trace_id;
    applied(fixture.store.append(&polling, &late(&one)).await.unwrap());
    not_granted(fixture.claim(&polling, &on, &lease()).await);

    let waiting = fixture.invocation(State::Callback).await.trace_id;
    not_granted(fixture.claim(&waiting, &on, &lease()).await);
    applied(fixture.store.append(&waiting, &late(&entry(json!(0)))).await.unwrap());
    not_granted(fixture.claim(&waiting, &on, &lease()).await);
    applied(fixture.store.append(&waiting, &late(&one)).await.unwrap());
    assert_eq!(granted(fixture.claim(&waiting, &on, &lease()).await).inbox.len(), 2);
    not_granted(fixture.claim(&waiting, &on, &lease()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claims_at_once_one_is_granted() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Poll).await.trace_id;
    let claims: Vec<_> = (0..32)
        .map(|_| {
            let (store, trace_id) = (fixture.store.clone(), trace_id.clone());
            tokio::spawn(async move { store.claim(&trace_id, &ClaimOn::Step(1), &lease(), START).await })
        })
        .collect();
    let mut grants = Vec::new();
    let mut holders = Vec::new();
    for claim in claims {
        match claim.await.unwrap().unwrap() {
            bk_plugin_kit::table::Claim::Granted(record) => grants.push(record.lease.unwrap()),
            bk_plugin_kit::table::Claim::Refused(record) => holders.push(record.unwrap().lease.unwrap()),
        }
    }
    assert_eq!(grants.len(), 1);
    assert!(holders.iter().all(|holder| *holder == grants[0]), "the refused ones see who has it");
}

#[tokio::test]
async fn commit_writes_the_step_and_frees_the_record() {
    let fixture = Fixture::new().await;
    let before = fixture.invocation(State::Poll).await;
    let lease = fixture.leased(&before.trace_id).await;
    let deadline = Some(Deadline { at: START + Duration::from_secs(9), run: true });
    let commit = Commit { state: State::Callback, deadline, ..polled() };
    applied(fixture.store.commit(&before.trace_id, &lease.token, &commit).await.unwrap());
    let after = fixture.read(&before.trace_id).await;
    let expected = Record {
        state: State::Callback,
        invoke_count: 2,
        storage: json!({ "n": 2 }),
        outputs: json!({ "out": "text" }),
        deadline,
        ..before
    };
    assert_eq!(after, expected);
    // The same token a second time: the lease is gone.
    let record = refused_commit(&fixture, &after.trace_id, &lease.token, &commit).await;
    assert_eq!(record, after);
}

#[tokio::test]
async fn commit_without_texts_leaves_them() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Poll).await.trace_id;
    let lease = fixture.leased(&trace_id).await;
    applied(fixture.store.commit(&trace_id, &lease.token, &polled()).await.unwrap());
    granted(fixture.claim(&trace_id, &ClaimOn::Step(2), &lease).await);
    let commit = Commit { storage: None, outputs: None, invoke_count: 3, ..ended() };
    applied(fixture.store.commit(&trace_id, &lease.token, &commit).await.unwrap());
    let record = fixture.read(&trace_id).await;
    assert_eq!((record.storage, record.outputs), (json!({ "n": 2 }), json!({ "out": "text" })));
    assert_eq!((record.state, record.err.as_str()), (State::Fail, "no \u{0} luck"));
    assert_eq!(record.finish_at, Some(START));
}

#[tokio::test]
async fn commit_of_nothing_is_refused_without_a_record() {
    let fixture = Fixture::new().await;
    let write = fixture.store.commit(&TraceId::random(), &LeaseToken::random(), &polled()).await.unwrap();
    assert_eq!(refused(write), None);
    // A record without a lease has no holder.
    let free = fixture.invocation(State::Poll).await;
    assert_eq!(refused_commit(&fixture, &free.trace_id, &LeaseToken::random(), &polled()).await, free);
}

#[tokio::test]
async fn commit_wants_the_inbox_it_knows_and_consumes_its_head() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Callback).await.trace_id;
    let (first, second) = (entry(json!(1)), entry(json!(2)));
    applied(fixture.store.append(&trace_id, &late(&first)).await.unwrap());
    let lease = fixture.leased(&trace_id).await;
    applied(fixture.store.append(&trace_id, &late(&second)).await.unwrap());

    let commit = |length| Commit { consume: true, inbox_len: Some(length), ..polled() };
    let record = refused_commit(&fixture, &trace_id, &lease.token, &commit(1)).await;
    assert_eq!(record.inbox, [first.clone(), second.clone()]);
    assert_eq!(record.lease, Some(lease.clone()), "the lease stays for the next attempt");
    applied(fixture.store.commit(&trace_id, &lease.token, &commit(2)).await.unwrap());
    let record = fixture.read(&trace_id).await;
    assert_eq!(record.inbox, [second]);
    assert_eq!(record.consumed, [first.receipt]);
}

#[tokio::test]
async fn only_the_latest_consumed_receipts_are_kept() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Callback).await.trace_id;
    let mut receipts = Vec::new();
    for step in 1..=u32::try_from(Record::CONSUMED_KEPT).unwrap() + 3 {
        let one = entry(json!(step));
        receipts.push(one.receipt.clone());
        applied(fixture.store.append(&trace_id, &late(&one)).await.unwrap());
        let lease = lease();
        granted(fixture.claim(&trace_id, &ClaimOn::Step(step), &lease).await);
        let commit = Commit { state: State::Callback, invoke_count: step + 1, consume: true, ..polled() };
        applied(fixture.store.commit(&trace_id, &lease.token, &commit).await.unwrap());
    }
    let record = fixture.read(&trace_id).await;
    assert_eq!(record.consumed, receipts[3..]);
    assert!(record.inbox.is_empty());
}

#[tokio::test]
async fn append_is_idempotent_by_receipt() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Callback).await.trace_id;
    let one = entry(json!({ "n": [1, 2] }));
    for _ in 0..2 {
        applied(fixture.store.append(&trace_id, &late(&one)).await.unwrap());
    }
    assert_eq!(fixture.read(&trace_id).await.inbox, std::slice::from_ref(&one));

    // Nor is it added again after a step was given it, even if that was the last one.
    let lease = fixture.leased(&trace_id).await;
    let commit = Commit { consume: true, ..ended() };
    applied(fixture.store.commit(&trace_id, &lease.token, &commit).await.unwrap());
    applied(fixture.store.append(&trace_id, &late(&one)).await.unwrap());
    assert!(fixture.read(&trace_id).await.inbox.is_empty());
}

#[tokio::test]
async fn append_to_a_finished_invocation_is_refused() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Callback).await.trace_id;
    applied(fixture.store.append(&trace_id, &late(&entry(json!("left over")))).await.unwrap());
    let lease = fixture.leased(&trace_id).await;
    applied(fixture.store.commit(&trace_id, &lease.token, &ended()).await.unwrap());
    let record = refused(fixture.store.append(&trace_id, &early(&entry(json!(1)))).await.unwrap());
    assert_eq!(record, Some(fixture.read(&trace_id).await));
    assert_eq!(record.unwrap().inbox[0].data, json!("left over"));
}

#[tokio::test]
async fn append_without_a_record_makes_a_stub_only_if_told_to() {
    let fixture = Fixture::new().await;
    let trace_id = TraceId::random();
    let one = entry(json!(null));
    assert_eq!(refused(fixture.store.append(&trace_id, &late(&one)).await.unwrap()), None);
    assert!(fixture.store.read(&trace_id).await.unwrap().is_none());
    applied(fixture.store.append(&trace_id, &early(&one)).await.unwrap());
    applied(fixture.store.append(&trace_id, &early(&one)).await.unwrap());
    let expected = Record { inbox: vec![one], ..Record::stub(trace_id.clone(), START) };
    assert_eq!(fixture.read(&trace_id).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_appends_at_once_none_is_lost() {
    let fixture = Fixture::new().await;
    let record = record(State::Callback);
    let entries: Vec<_> = (0..100).map(|number| entry(json!(number))).collect();
    let mut appends: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (store, trace_id, append) = (fixture.store.clone(), record.trace_id.clone(), early(entry));
            tokio::spawn(async move { store.append(&trace_id, &append).await.unwrap() })
        })
        .collect();
    let (store, created) = (fixture.store.clone(), record.clone());
    appends.push(tokio::spawn(async move { store.create(&created, None).await.unwrap() }));
    for append in appends {
        applied(append.await.unwrap());
    }
    let read = fixture.read(&record.trace_id).await;
    assert_eq!(read.state, State::Callback);
    assert_eq!(read.inbox.len(), 100);
    assert!(entries.iter().all(|entry| read.inbox.contains(entry)));
}

#[tokio::test]
async fn settle_notes_that_nothing_is_owed() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Poll).await.trace_id;
    let lease = fixture.leased(&trace_id).await;
    applied(fixture.store.commit(&trace_id, &lease.token, &ended()).await.unwrap());
    let owed = fixture.read(&trace_id).await;
    assert!(owed.owed);
    for _ in 0..2 {
        fixture.store.settle(&trace_id).await.unwrap();
    }
    assert_eq!(fixture.read(&trace_id).await, Record { owed: false, ..owed });
    fixture.store.settle(&TraceId::random()).await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_not_written() {
    let fixture = Fixture::new().await;
    let large = Value::from("x".repeat(6_000));
    let mut too_large = record(State::Callback);
    too_large.inputs.insert("large".to_owned(), Value::from("x".repeat(10_000)));
    is_too_large(fixture.store.create(&too_large, None).await);
    assert!(fixture.store.read(&too_large.trace_id).await.unwrap().is_none());

    let trace_id = fixture.invocation(State::Callback).await.trace_id;
    applied(fixture.store.append(&trace_id, &late(&entry(large.clone()))).await.unwrap());
    is_too_large(fixture.store.append(&trace_id, &late(&entry(large.clone()))).await);
    let lease = fixture.leased(&trace_id).await;
    let before = fixture.read(&trace_id).await;
    let commit = Commit { storage: Some(large.clone()), ..polled() };
    is_too_large(fixture.store.commit(&trace_id, &lease.token, &commit).await);
    assert_eq!(fixture.read(&trace_id).await, before);

    // The invocation can be ended all the same, or go on with less.
    let commit = Commit { consume: true, ..commit };
    applied(fixture.store.commit(&trace_id, &lease.token, &commit).await.unwrap());
}

#[track_caller]
fn is_too_large(result: Result<Write, StoreError>) {
    assert!(matches!(result, Err(StoreError::TooLarge { size: 10_001.., limit: 10_000 })), "{result:?}");
}

#[tokio::test]
async fn expired_records_and_stubs_go_others_stay() {
    let fixture = Fixture::new().await;
    let polling = fixture.invocation(State::Poll).await.trace_id;
    let stub = TraceId::random();
    applied(fixture.store.append(&stub, &early(&entry(json!(1)))).await.unwrap());
    let mut finished = Vec::new();
    for _ in 0..3 {
        let trace_id = fixture.invocation(State::Poll).await.trace_id;
        let lease = fixture.leased(&trace_id).await;
        applied(fixture.store.append(&trace_id, &late(&entry(json!(1)))).await.unwrap());
        applied(fixture.store.commit(&trace_id, &lease.token, &ended()).await.unwrap());
        finished.push(trace_id);
    }
    let expire =
        |minutes, at_most| fixture.store.delete_expired(START + Duration::from_mins(minutes), at_most);
    assert_eq!(expire(9, 10).await.unwrap(), 0);
    assert_eq!(expire(10, 10).await.unwrap(), 1);
    assert!(fixture.store.read(&stub).await.unwrap().is_none());
    assert_eq!(expire(59, 10).await.unwrap(), 0);
    assert_eq!(expire(60, 2).await.unwrap(), 2);
    assert_eq!(expire(60, 2).await.unwrap(), 1);
    for trace_id in finished {
        assert!(fixture.store.read(&trace_id).await.unwrap().is_none());
    }
    fixture.read(&polling).await;
    let left: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM inbox), (SELECT count(*) FROM leases)",
    )
    .fetch_one(&mut fixture.connect().await)
    .await
    .unwrap();
    assert_eq!(left, (1, 0, 0));
    assert_eq!(fixture.clock.now(), START);
}

async fn refused_commit(
    fixture: &Fixture,
    trace_id: &TraceId,
    token: &LeaseToken,
    commit: &Commit,
) -> Record {
    refused(fixture.store.commit(trace_id, token, commit).await.unwrap()).unwrap()
}
