//! `Table::claim`: the step or the receipt must fit, and no other lease may be alive.

use std::time::Duration;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_core::record::{Deadline, Lease, Record, State};
use bk_plugin_core::table::{Claim, ClaimOn, Commit};
use serde_json::json;

use super::{MINUTE, MUCH_LATER, appended, claim, committed, created, invocation, leased, read};
use crate::TableStore;
use crate::sample::{START, early, ended, entry, granted, late, lease, not_granted, polled, record};

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
