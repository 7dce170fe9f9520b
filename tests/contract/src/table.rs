//! The cases of the port `Table`: the condition of every write, and the record after it.

use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::record::{Deadline, FinishCallback, InboxEntry, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};
use serde_json::json;

use crate::TableStore;
use crate::sample::{
    START, applied, early, ended, entry, granted, late, lease, not_granted, polled, record, refused, text,
};

/// Registers every case of the port `Table` for a [`TableStore`].
#[macro_export]
macro_rules! table_cases {
    ($store:ty) => {
        $crate::register!($store, TableStore, table, [
            a_record_reads_back_as_it_was_written
            nothing_is_read_where_nothing_is
            a_write_is_read_at_once
            a_table_that_is_there_answers
            the_group_is_that_of_the_version_or_unknown
            create_writes_where_nothing_is
            create_is_refused_where_an_invocation_is
            create_is_refused_where_a_finished_invocation_is
            create_over_a_stub_keeps_the_inbox
            create_does_not_write_the_inbox_it_brings
            create_wants_the_inbox_it_knows
            claim_by_step_wants_that_many_steps
            claim_of_nothing_is_refused
            claim_of_a_stub_is_refused
            claim_of_a_finished_invocation_is_refused
            claim_respects_a_live_lease
            claim_takes_over_an_expired_lease
            claim_in_callback_wants_a_callback
            claim_in_callback_with_an_empty_inbox_waits_for_the_deadline
            claim_in_poll_does_not_look_at_the_inbox
            claim_by_receipt_wants_callback_and_the_receipt
            of_many_claims_at_once_one_is_granted
            commit_writes_the_step_and_takes_the_lease_off
            commit_that_ends_leaves_nothing_to_claim
            commit_without_storage_and_outputs_leaves_them
            commit_without_a_record_is_refused
            commit_without_the_lease_is_refused
            commit_of_a_lost_lease_is_refused
            commit_by_an_expired_lease_that_nobody_took_is_made
            commit_wants_the_inbox_it_knows
            commit_consumes_the_oldest_callback
            commit_that_consumes_from_an_empty_inbox_is_refused
            commit_remembers_the_latest_receipts
            append_keeps_the_order
            append_is_made_in_every_unfinished_state
            append_of_a_known_receipt_changes_nothing
            append_of_a_known_receipt_counts_as_applied_when_finished
            append_to_a_finished_invocation_is_refused
            append_without_a_record_makes_a_stub_only_if_told_to
            append_to_a_full_inbox_is_refused_as_such
            of_many_appends_at_once_none_is_lost
            settle_notes_that_nothing_is_owed
            create_of_a_record_that_is_too_large
            append_that_makes_a_record_too_large
            commit_that_makes_a_record_too_large
            commit_without_storage_and_outputs_is_never_too_large
            expired_records_and_stubs_go_others_stay
            a_stub_lives_as_long_as_its_youngest_callback
            create_over_a_stub_ends_its_expiry
        ]);
        $crate::register!($store, TableStore, concurrency, [
            one_client_is_answered_as_specified
            many_clients_are_linearizable
        ]);
    };
}

const MINUTE: Duration = Duration::from_mins(1);

/// Longer than every lease and deadline of a case.
const MUCH_LATER: Duration = Duration::from_hours(1000);

async fn created(table: &dyn Table, record: &Record) {
    applied(table.create(record, None).await.unwrap());
}

async fn invocation(table: &dyn Table, state: State) -> Record {
    let record = record(state);
    created(table, &record).await;
    record
}

async fn read(table: &dyn Table, trace_id: &TraceId) -> Record {
    *table.read(trace_id).await.unwrap().expect("there is a record")
}

async fn claim(table: &dyn Table, trace_id: &TraceId, after_step: u32, lease: &Lease) -> Claim {
    table.claim(trace_id, &ClaimOn::Step(after_step), lease, START).await.unwrap()
}

/// A lease of one minute, granted after one committed step.
async fn leased(table: &dyn Table, trace_id: &TraceId) -> Lease {
    let lease = lease();
    granted(claim(table, trace_id, 1, &lease).await);
    lease
}

async fn finished(table: &dyn Table) -> Record {
    let trace_id = invocation(table, State::Poll).await.trace_id;
    let lease = leased(table, &trace_id).await;
    committed(table, &trace_id, &lease, &ended()).await
}

async fn committed(table: &dyn Table, trace_id: &TraceId, lease: &Lease, commit: &Commit) -> Record {
    applied(table.commit(trace_id, &lease.token, commit).await.unwrap());
    read(table, trace_id).await
}

async fn refused_commit(table: &dyn Table, trace_id: &TraceId, lease: &Lease, commit: &Commit) -> Record {
    refused(table.commit(trace_id, &lease.token, commit).await.unwrap()).expect("there is a record")
}

async fn appended(table: &dyn Table, trace_id: &TraceId, append: &Append) {
    applied(table.append(trace_id, append).await.unwrap());
}

/// Every field of a record survives, with any characters in its texts.
pub async fn a_record_reads_back_as_it_was_written(store: &dyn TableStore) {
    let mut record = record(State::Callback);
    record.context.insert("operator".to_owned(), json!("admin"));
    record.context.insert(String::new(), json!({ "": [[], {}, "", null, false, -1, u64::MAX, i64::MIN] }));
    record.storage = json!([1, null, { "z": "\"", "a": 1e300 }]);
    record.outputs = json!({ "empty": {}, "text": "\u{1f600} \\u0000 \r\n" });
    record.err.push_str("a \u{0} \"quoted\" 'word'");
    record.deadline = Some(Deadline { at: START, run: true });
    record.finish_callback =
        Some(FinishCallback { url: "http://x/".to_owned(), data: record.inputs.clone() });
    record.trace.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    record.owed = true;
    record.lease = Some(lease());
    record.consumed = vec![Receipt::random(), Receipt::random()];
    record.finish_at = Some(START + MINUTE);
    let table = store.table();
    applied(table.create(&record, Some(0)).await.unwrap());
    let read = read(&*table, &record.trace_id).await;
    assert_eq!(read, record);
    let keys: Vec<_> = read.inputs.keys().collect();
    assert_eq!(keys, ["b", "a"], "the order of keys is kept");
}

/// Reading a missing record is not an error.
pub async fn nothing_is_read_where_nothing_is(store: &dyn TableStore) {
    assert_eq!(store.table().read(&TraceId::random()).await.unwrap(), None);
}

/// A client that got the answer to its write reads that write, every time.
pub async fn a_write_is_read_at_once(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    for step in 1..=20 {
        let lease = lease();
        granted(claim(&*table, &trace_id, step, &lease).await);
        assert_eq!(read(&*table, &trace_id).await.lease, Some(lease.clone()));
        let one = entry(json!(step));
        appended(&*table, &trace_id, &late(&one)).await;
        assert_eq!(read(&*table, &trace_id).await.inbox.last(), Some(&one));
        let commit = Commit { invoke_count: step + 1, ..polled() };
        let after = committed(&*table, &trace_id, &lease, &commit).await;
        assert_eq!((after.invoke_count, after.lease), (step + 1, None));
    }
}

/// `ping` succeeds.
pub async fn a_table_that_is_there_answers(store: &dyn TableStore) {
    store.table().ping().await.unwrap();
}

/// It is unknown until the invocation is there.
pub async fn the_group_is_that_of_the_version_or_unknown(store: &dyn TableStore) {
    let (table, record) = (store.table(), record(State::Poll));
    assert_eq!(table.group_of(&record.trace_id).await, None);
    applied(table.append(&record.trace_id, &early(&entry(json!(1)))).await.unwrap());
    assert_eq!(table.group_of(&record.trace_id).await, None, "a stub");
    applied(table.create(&record, None).await.unwrap());
    let group = store.tells_groups().then(|| MessageGroup::of_version(&record.plugin_version));
    assert_eq!(table.group_of(&record.trace_id).await, group);
}

/// The create may have a condition on the inbox or not.
pub async fn create_writes_where_nothing_is(store: &dyn TableStore) {
    let table = store.table();
    for inbox_len in [None, Some(0)] {
        let record = record(State::Poll);
        applied(table.create(&record, inbox_len).await.unwrap());
        assert_eq!(read(&*table, &record.trace_id).await, record);
    }
}

/// The second create is shown the first record, which stays unchanged.
pub async fn create_is_refused_where_an_invocation_is(store: &dyn TableStore) {
    let table = store.table();
    for state in [State::Poll, State::Callback] {
        let first = invocation(&*table, state).await;
        let second = Record { plugin_version: "2.0.0".to_owned(), ..first.clone() };
        for inbox_len in [None, Some(0)] {
            assert_eq!(refused(table.create(&second, inbox_len).await.unwrap()), Some(first.clone()));
        }
        assert_eq!(read(&*table, &first.trace_id).await, first);
    }
}

/// A finished invocation never changes.
pub async fn create_is_refused_where_a_finished_invocation_is(store: &dyn TableStore) {
    let table = store.table();
    let done = finished(&*table).await;
    let again = Record { trace_id: done.trace_id.clone(), ..record(State::Poll) };
    assert_eq!(refused(table.create(&again, None).await.unwrap()), Some(done.clone()));
    assert_eq!(read(&*table, &done.trace_id).await, done);
}

/// Callbacks that came before the record are in it, in their order. All other fields are those of the new
/// record.
pub async fn create_over_a_stub_keeps_the_inbox(store: &dyn TableStore) {
    let table = store.table();
    let record = Record { created_at: START + MINUTE, ..record(State::Callback) };
    let inbox = vec![entry(json!({ "n": 1 })), entry(json!("two"))];
    for entry in &inbox {
        appended(&*table, &record.trace_id, &early(entry)).await;
    }
    let stub = Record { inbox: inbox.clone(), ..Record::stub(record.trace_id.clone(), START) };
    assert_eq!(read(&*table, &record.trace_id).await, stub);

    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await, Record { inbox, ..record });
}

/// Only appends write to the inbox.
pub async fn create_does_not_write_the_inbox_it_brings(store: &dyn TableStore) {
    let table = store.table();
    let record = Record { inbox: vec![entry(json!("brought"))], ..record(State::Callback) };
    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await.inbox, []);

    let (record, there) = (Record { trace_id: TraceId::random(), ..record }, entry(json!("there")));
    appended(&*table, &record.trace_id, &early(&there)).await;
    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await.inbox, [there]);
}

/// Refused if a callback came meanwhile, so that the first step sends a wake-up for that callback.
pub async fn create_wants_the_inbox_it_knows(store: &dyn TableStore) {
    let table = store.table();
    let record = record(State::Callback);
    assert_eq!(refused(table.create(&record, Some(1)).await.unwrap()), None);
    assert_eq!(table.read(&record.trace_id).await.unwrap(), None);
    appended(&*table, &record.trace_id, &early(&entry(json!(1)))).await;
    for unfit in [0, 2] {
        let stub = refused(table.create(&record, Some(unfit)).await.unwrap());
        assert_eq!(stub, Some(read(&*table, &record.trace_id).await));
        assert!(stub.unwrap().is_stub());
    }
    applied(table.create(&record, Some(1)).await.unwrap());
}

/// The step before and the step after are refused. The grant shows the record with the lease on it.
pub async fn claim_by_step_wants_that_many_steps(store: &dyn TableStore) {
    let table = store.table();
    let record = invocation(&*table, State::Poll).await;
    for other in [0, 2] {
        let refused = not_granted(claim(&*table, &record.trace_id, other, &lease()).await);
        assert_eq!(refused, Some(record.clone()));
    }
    let lease = lease();
    let claimed = granted(claim(&*table, &record.trace_id, 1, &lease).await);
    assert_eq!(claimed, Record { lease: Some(lease), ..record });
    assert_eq!(read(&*table, &claimed.trace_id).await, claimed);
}

/// The refused claim creates no record.
pub async fn claim_of_nothing_is_refused(store: &dyn TableStore) {
    let (table, nowhere) = (store.table(), TraceId::random());
    for on in [ClaimOn::Step(0), ClaimOn::Step(1), ClaimOn::Receipt(Receipt::random())] {
        assert_eq!(not_granted(table.claim(&nowhere, &on, &lease(), START).await.unwrap()), None);
    }
    assert_eq!(table.read(&nowhere).await.unwrap(), None);
}

/// A stub is not an invocation, even if the claimed callback is in its inbox.
pub async fn claim_of_a_stub_is_refused(store: &dyn TableStore) {
    let (table, trace_id, one) = (store.table(), TraceId::random(), entry(json!(1)));
    appended(&*table, &trace_id, &early(&one)).await;
    for on in [ClaimOn::Step(0), ClaimOn::Receipt(one.receipt)] {
        let stub = not_granted(table.claim(&trace_id, &on, &lease(), START).await.unwrap());
        assert_eq!(stub, Some(read(&*table, &trace_id).await));
        assert!(stub.unwrap().is_stub());
    }
}

/// Refused by step, by a receipt left in the inbox, and at any later time.
pub async fn claim_of_a_finished_invocation_is_refused(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let one = entry(json!(1));
    appended(&*table, &trace_id, &late(&one)).await;
    let lease = leased(&*table, &trace_id).await;
    let done = committed(&*table, &trace_id, &lease, &ended()).await;
    for on in [ClaimOn::Step(1), ClaimOn::Step(2), ClaimOn::Receipt(one.receipt)] {
        let now = START + MUCH_LATER;
        let refused = not_granted(table.claim(&trace_id, &on, &lease, now).await.unwrap());
        assert_eq!(refused, Some(done.clone()));
    }
}

/// The lease lives up to its last millisecond. The refused claim is shown the lease.
pub async fn claim_respects_a_live_lease(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let first = leased(&*table, &trace_id).await;
    for now in [START, START + Duration::from_millis(59_999)] {
        let claim = table.claim(&trace_id, &ClaimOn::Step(1), &lease(), now).await.unwrap();
        assert_eq!(not_granted(claim).unwrap().lease, Some(first.clone()));
    }
}

/// Granted from the moment the lease ends.
pub async fn claim_takes_over_an_expired_lease(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let first = leased(&*table, &trace_id).await;
    let second = Lease { token: LeaseToken::random(), until: START + 2 * MINUTE };
    let claimed = table.claim(&trace_id, &ClaimOn::Step(1), &second, first.until).await.unwrap();
    assert_eq!(granted(claimed).lease, Some(second.clone()));
    assert_eq!(read(&*table, &trace_id).await.lease, Some(second));
}

/// Without a callback the invocation waits for any length of time; with one the claim is granted.
pub async fn claim_in_callback_wants_a_callback(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let on = ClaimOn::Step(1);
    not_granted(table.claim(&trace_id, &on, &lease(), START + MUCH_LATER).await.unwrap());
    appended(&*table, &trace_id, &late(&entry(json!(1)))).await;
    for other in [0, 2] {
        not_granted(claim(&*table, &trace_id, other, &lease()).await);
    }
    assert_eq!(granted(claim(&*table, &trace_id, 1, &lease()).await).inbox.len(), 1);
}

/// Refused before the deadline, granted from that moment on.
pub async fn claim_in_callback_with_an_empty_inbox_waits_for_the_deadline(store: &dyn TableStore) {
    let table = store.table();
    for run in [false, true] {
        let at = START + Duration::from_secs(5);
        let waiting = Record { deadline: Some(Deadline { at, run }), ..record(State::Callback) };
        created(&*table, &waiting).await;
        for early in [START, Timestamp::from_millis(at.as_millis() - 1)] {
            let claim = table.claim(&waiting.trace_id, &ClaimOn::Step(1), &lease(), early).await.unwrap();
            assert_eq!(not_granted(claim), Some(waiting.clone()));
        }
        let claim = table.claim(&waiting.trace_id, &ClaimOn::Step(0), &lease(), at).await.unwrap();
        not_granted(claim);
        let claim = table.claim(&waiting.trace_id, &ClaimOn::Step(1), &lease(), at).await.unwrap();
        assert_eq!(granted(claim).deadline, waiting.deadline);
    }
}

/// A poll continues without a callback.
pub async fn claim_in_poll_does_not_look_at_the_inbox(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(json!(1)))).await;
    assert_eq!(granted(claim(&*table, &trace_id, 1, &lease()).await).inbox.len(), 1);
}

/// In POLL the callback waits. A receipt that is not in the inbox, or no longer, claims nothing.
pub async fn claim_by_receipt_wants_callback_and_the_receipt(store: &dyn TableStore) {
    let (table, one) = (store.table(), entry(json!(1)));
    let on = ClaimOn::Receipt(one.receipt.clone());

    let polling = invocation(&*table, State::Poll).await.trace_id;
    appended(&*table, &polling, &late(&one)).await;
    not_granted(table.claim(&polling, &on, &lease(), START).await.unwrap());

    let deadline = Some(Deadline { at: START, run: true });
    let waiting = Record { deadline, ..record(State::Callback) };
    created(&*table, &waiting).await;
    let waiting = waiting.trace_id;
    not_granted(table.claim(&waiting, &on, &lease(), START).await.unwrap());
    appended(&*table, &waiting, &late(&entry(json!(0)))).await;
    not_granted(table.claim(&waiting, &on, &lease(), START).await.unwrap());
    appended(&*table, &waiting, &late(&one)).await;
    let lease = lease();
    let claimed = granted(table.claim(&waiting, &on, &lease, START).await.unwrap());
    assert_eq!((claimed.inbox.len(), claimed.lease), (2, Some(lease.clone())));
    not_granted(table.claim(&waiting, &on, &crate::sample::lease(), START).await.unwrap());

    for step in 2..=3 {
        let commit = Commit { state: State::Callback, invoke_count: step, consume: true, ..polled() };
        committed(&*table, &waiting, &lease, &commit).await;
        if step == 2 {
            granted(table.claim(&waiting, &on, &lease, START).await.unwrap());
        }
    }
    let record = not_granted(table.claim(&waiting, &on, &lease, START).await.unwrap()).unwrap();
    assert!(record.consumed.contains(&one.receipt), "the wake-up of a consumed callback is told so");
}

/// The refused claims are shown the lease that was granted.
pub async fn of_many_claims_at_once_one_is_granted(store: &dyn TableStore) {
    let trace_id = invocation(&*store.table(), State::Poll).await.trace_id;
    let claims: Vec<_> = (0..32)
        .map(|_| {
            let (table, trace_id) = (store.table(), trace_id.clone());
            tokio::spawn(async move { table.claim(&trace_id, &ClaimOn::Step(1), &lease(), START).await })
        })
        .collect();
    let (mut grants, mut holders) = (Vec::new(), Vec::new());
    for claim in claims {
        match claim.await.unwrap().unwrap() {
            Claim::Granted(record) => grants.push(record.lease.unwrap()),
            Claim::Refused(record) => holders.push(record.unwrap().lease.unwrap()),
        }
    }
    assert_eq!(grants.len(), 1);
    assert!(holders.iter().all(|holder| *holder == grants[0]));
}

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

/// Callbacks stay in the order of acceptance, whatever else changes on the record.
pub async fn append_keeps_the_order(store: &dyn TableStore) {
    let table = store.table();
    let record = record(State::Callback);
    let entries: Vec<_> = (0..12).map(|number| entry(json!({ "n": number }))).collect();
    for (number, entry) in entries.iter().enumerate() {
        if number == 4 {
            created(&*table, &record).await;
        }
        if number == 8 {
            leased(&*table, &record.trace_id).await;
        }
        appended(&*table, &record.trace_id, &early(entry)).await;
    }
    assert_eq!(read(&*table, &record.trace_id).await.inbox, entries);
}

/// The append is made with and without a lease on the record, and with and without permission to make a stub.
pub async fn append_is_made_in_every_unfinished_state(store: &dyn TableStore) {
    let table = store.table();
    for state in [State::Poll, State::Callback] {
        for lease in [None, Some(lease())] {
            let record = Record { lease, ..record(state) };
            created(&*table, &record).await;
            let inbox = vec![entry(json!(null)), entry(json!([]))];
            appended(&*table, &record.trace_id, &late(&inbox[0])).await;
            appended(&*table, &record.trace_id, &early(&inbox[1])).await;
            assert_eq!(read(&*table, &record.trace_id).await, Record { inbox, ..record });
        }
    }
}

/// This holds while the callback is in the inbox and after a step consumed it.
pub async fn append_of_a_known_receipt_changes_nothing(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let (one, two) = (entry(json!({ "n": [1, 2] })), entry(json!(2)));
    for entry in [&one, &two, &one, &two] {
        appended(&*table, &trace_id, &late(entry)).await;
    }
    let changed = InboxEntry { data: json!("other data"), ..one.clone() };
    appended(&*table, &trace_id, &late(&changed)).await;
    assert_eq!(read(&*table, &trace_id).await.inbox, [one.clone(), two.clone()]);

    let lease = leased(&*table, &trace_id).await;
    let commit = Commit { state: State::Callback, consume: true, ..polled() };
    let record = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!(record.inbox, [two]);
    appended(&*table, &trace_id, &early(&one)).await;
    assert_eq!(read(&*table, &trace_id).await, record);
}

/// The callback was accepted while the invocation ran. A caller that repeats the call after a lost answer
/// gets the same answer.
pub async fn append_of_a_known_receipt_counts_as_applied_when_finished(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let (given, left) = (entry(json!(1)), entry(json!(2)));
    for entry in [&given, &left] {
        appended(&*table, &trace_id, &late(entry)).await;
    }
    let lease = leased(&*table, &trace_id).await;
    let done = committed(&*table, &trace_id, &lease, &Commit { consume: true, ..ended() }).await;
    for entry in [&given, &left] {
        appended(&*table, &trace_id, &late(entry)).await;
        appended(&*table, &trace_id, &early(entry)).await;
    }
    assert_eq!(read(&*table, &trace_id).await, done);
}

/// Callbacks that were accepted earlier and not consumed stay in the inbox.
pub async fn append_to_a_finished_invocation_is_refused(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(json!("left over")))).await;
    let lease = leased(&*table, &trace_id).await;
    let done = committed(&*table, &trace_id, &lease, &ended()).await;
    for append in [late(&entry(json!(1))), early(&entry(json!(2)))] {
        assert_eq!(refused(table.append(&trace_id, &append).await.unwrap()), Some(done.clone()));
    }
    assert_eq!(read(&*table, &trace_id).await, done);
    assert_eq!(done.inbox[0].data, json!("left over"));
}

/// A stub is made once. Later callbacks are added to it, with or without permission to make one.
pub async fn append_without_a_record_makes_a_stub_only_if_told_to(store: &dyn TableStore) {
    let (table, trace_id) = (store.table(), TraceId::random());
    let (one, two, three) = (entry(json!(null)), entry(json!("two")), entry(json!({ "three": 3 })));
    assert_eq!(refused(table.append(&trace_id, &late(&one)).await.unwrap()), None);
    assert_eq!(table.read(&trace_id).await.unwrap(), None);
    appended(&*table, &trace_id, &early(&one)).await;
    appended(&*table, &trace_id, &early(&one)).await;
    appended(&*table, &trace_id, &late(&two)).await;
    let later = Append { entry: three.clone(), stub: Some((START + MINUTE, START + 2 * MINUTE)) };
    appended(&*table, &trace_id, &later).await;
    let expected = Record { inbox: vec![one, two, three], ..Record::stub(trace_id.clone(), START) };
    assert_eq!(read(&*table, &trace_id).await, expected);
}

/// An append of a known receipt counts as applied even if the inbox is full.
pub async fn append_to_a_full_inbox_is_refused_as_such(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let first = late(&entry(json!(0)));
    appended(&*table, &trace_id, &first).await;
    for number in 1..Record::LARGEST_INBOX {
        appended(&*table, &trace_id, &late(&entry(json!(number)))).await;
    }
    let full = table.append(&trace_id, &late(&entry(json!("one more")))).await;
    assert!(matches!(full, Err(StoreError::InboxFull { limit: Record::LARGEST_INBOX })), "{full:?}");
    appended(&*table, &trace_id, &first).await;
    assert_eq!(read(&*table, &trace_id).await.inbox.len(), Record::LARGEST_INBOX);
}

/// The record is created while the appends are under way.
pub async fn of_many_appends_at_once_none_is_lost(store: &dyn TableStore) {
    let record = record(State::Callback);
    let entries: Vec<_> = (0..100).map(|number| entry(json!(number))).collect();
    let mut writes = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let (table, trace_id, append) = (store.table(), record.trace_id.clone(), early(entry));
        writes.push(tokio::spawn(async move { table.append(&trace_id, &append).await.unwrap() }));
        if number == 50 {
            let (table, record) = (store.table(), record.clone());
            writes.push(tokio::spawn(async move { table.create(&record, None).await.unwrap() }));
        }
    }
    for write in writes {
        applied(write.await.unwrap());
    }
    let read = read(&*store.table(), &record.trace_id).await;
    assert_eq!(read.state, State::Callback);
    assert_eq!(read.inbox.len(), 100);
    assert!(entries.iter().all(|entry| read.inbox.contains(entry)));
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

/// The length of a text that fits into a record once but not twice, even compressed.
fn large(store: &dyn TableStore) -> usize {
    store.largest_record() / 10 * 7
}

#[track_caller]
fn is_too_large(result: Result<Write, StoreError>) {
    let Err(StoreError::TooLarge { size, limit }) = result else { panic!("{result:?}") };
    assert!(size > limit, "{size} bytes, {limit} may be");
}

/// The record is not written. A smaller one is.
pub async fn create_of_a_record_that_is_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    let mut record = record(State::Callback);
    record.inputs.insert("large".to_owned(), text(large));
    let mut too_large = Record { trace_id: TraceId::random(), ..record.clone() };
    too_large.context.insert("large".to_owned(), text(large + 1));
    is_too_large(table.create(&too_large, None).await);
    assert_eq!(table.read(&too_large.trace_id).await.unwrap(), None);
    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await, record);

    // The stub's inbox counts as part of the record that replaces the stub.
    record.trace_id = TraceId::random();
    appended(&*table, &record.trace_id, &early(&entry(text(large + 2)))).await;
    is_too_large(table.create(&record, None).await);
    assert!(read(&*table, &record.trace_id).await.is_stub());
}

/// The inbox stays unchanged, and accepts a smaller callback.
pub async fn append_that_makes_a_record_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    for trace_id in [TraceId::random(), invocation(&*table, State::Callback).await.trace_id] {
        let (first, second) = (entry(text(large)), entry(json!("small")));
        appended(&*table, &trace_id, &early(&first)).await;
        is_too_large(table.append(&trace_id, &early(&entry(text(large + 1)))).await);
        appended(&*table, &trace_id, &early(&second)).await;
        appended(&*table, &trace_id, &early(&first)).await;
        assert_eq!(read(&*table, &trace_id).await.inbox, [first, second]);
    }
}

/// The record keeps its fields and its lease, and a smaller commit of the step succeeds.
pub async fn commit_that_makes_a_record_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(text(large)))).await;
    let lease = leased(&*table, &trace_id).await;
    let before = read(&*table, &trace_id).await;
    let storage = Commit { storage: Some(text(large + 1)), ..polled() };
    let outputs = Commit { outputs: Some(text(large + 1)), storage: None, ..polled() };
    for commit in [&storage, &outputs] {
        is_too_large(table.commit(&trace_id, &lease.token, commit).await);
        assert_eq!(read(&*table, &trace_id).await, before);
    }
    // A consumed callback makes room.
    let after = committed(&*table, &trace_id, &lease, &Commit { consume: true, ..storage }).await;
    assert_eq!((after.storage, after.inbox), (text(large + 1), vec![]));
}

/// The commit that ends an invocation because its state was too large must go through.
pub async fn commit_without_storage_and_outputs_is_never_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(text(large)))).await;
    // Fills the record until no further text fits.
    let mut length = store.largest_record() / 10;
    while length > 0 {
        match table.append(&trace_id, &late(&entry(text(length)))).await {
            Ok(write) => applied(write),
            Err(_) => length /= 2,
        }
    }
    let lease = leased(&*table, &trace_id).await;
    let err = "the state is too large ".repeat(20);
    let commit = Commit { storage: None, outputs: None, err: err.clone(), ..ended() };
    let done = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!((done.state, done.err), (State::Fail, err));
}

async fn is_there(table: &dyn Table, trace_id: &TraceId) -> bool {
    table.read(trace_id).await.unwrap().is_some()
}

/// A finished invocation is deleted when its time is over, an unfinished one never.
pub async fn expired_records_and_stubs_go_others_stay(store: &dyn TableStore) {
    let table = store.table();
    let stub = TraceId::random();
    appended(&*table, &stub, &early(&entry(json!(1)))).await;
    let unfinished = [State::Poll, State::Callback];
    let unfinished = [invocation(&*table, unfinished[0]).await, invocation(&*table, unfinished[1]).await];
    let done = finished(&*table).await.trace_id;
    if !store.delete_expired(START + 9 * MINUTE).await {
        return;
    }
    assert!(is_there(&*table, &stub).await && is_there(&*table, &done).await);
    store.delete_expired(START + 11 * MINUTE).await;
    assert!(!is_there(&*table, &stub).await && is_there(&*table, &done).await);
    store.delete_expired(START + 59 * MINUTE).await;
    assert!(is_there(&*table, &done).await);
    store.delete_expired(START + 61 * MINUTE).await;
    assert!(!is_there(&*table, &done).await);
    store.delete_expired(START + MUCH_LATER).await;
    for record in unfinished {
        assert_eq!(read(&*table, &record.trace_id).await, record);
    }
    // The trace_id can be used again.
    let again = Record { trace_id: done, ..record(State::Poll) };
    created(&*table, &again).await;
    assert_eq!(read(&*table, &again.trace_id).await, again);
}

/// Each callback may be waiting for the first step to be written.
pub async fn a_stub_lives_as_long_as_its_youngest_callback(store: &dyn TableStore) {
    let (table, stub) = (store.table(), TraceId::random());
    for minutes in [20, 10] {
        let times = (START, START + minutes * MINUTE);
        appended(&*table, &stub, &Append { entry: entry(json!(minutes)), stub: Some(times) }).await;
    }
    if !store.delete_expired(START + 19 * MINUTE).await {
        return;
    }
    assert_eq!(read(&*table, &stub).await.inbox.len(), 2);
    store.delete_expired(START + 21 * MINUTE).await;
    assert!(!is_there(&*table, &stub).await);
}

/// A record that replaced a stub stays until the invocation is finished.
pub async fn create_over_a_stub_ends_its_expiry(store: &dyn TableStore) {
    let (table, record) = (store.table(), record(State::Callback));
    appended(&*table, &record.trace_id, &early(&entry(json!(1)))).await;
    created(&*table, &record).await;
    appended(&*table, &record.trace_id, &early(&entry(json!(2)))).await;
    store.delete_expired(START + MUCH_LATER).await;
    assert_eq!(read(&*table, &record.trace_id).await.inbox.len(), 2);
}
