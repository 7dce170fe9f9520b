//! Callbacks: early, several, late, with a deadline.

use super::*;

#[tokio::test]
async fn callbacks_are_handed_over_one_a_step_in_order() {
    let bench = Bench::new();
    bench.invoke(&["callback", "callback", "done"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.call(json!(2)).await.unwrap();
    bench.work().await;
    let record = bench.record().await;
    assert_eq!(record.outputs, json!({"trail": ["Invoked", 1, 2]}));
    assert_eq!(record.state, State::Success);
    assert!(matches!(bench.call(json!(3)).await, Err(CallbackError::NotWaiting(Some(State::Success)))));
    bench.pass(secs(300)).await;
    assert!(bench.store.messages().is_empty(), "{:?}", bench.store.messages());
}

#[tokio::test]
async fn a_callback_before_the_first_record_waits_in_a_stub() {
    let bench = Bench::new();
    bench.call(json!("early")).await.unwrap();
    bench.work().await;
    assert!(
        bench.call_engine().schedule(&bench.trace_id).await.unwrap().is_none(),
        "a stub is no invocation"
    );
    bench.invoke(&["callback", "done"]).await;
    bench.pass(secs(5)).await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "early"]}));
}

#[tokio::test]
async fn a_callback_during_poll_waits_for_the_callback_state() {
    let bench = Bench::new();
    bench.invoke(&["poll", "callback", "done"]).await;
    bench.call(json!("early")).await.unwrap();
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Poll);
    bench.pass(secs(10)).await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "Polled", "early"]}));
}

#[tokio::test]
async fn a_callback_that_comes_while_the_step_before_runs_is_seen_by_its_commit() {
    let bench = Bench::new();
    bench.invoke(&["poll", "callback", "done"]).await;
    let now = bench.clock.now();
    let lease = bench.call_engine().new_lease(now);
    let Claim::Granted(mut record) =
        bench.store.claim(&bench.trace_id, &ClaimOn::Step(1), &lease, now).await.unwrap()
    else {
        panic!("not claimed")
    };
    let ended = bench.call_engine().run_claimed(&mut record, ()).await.unwrap();
    let Message::WakeUp(wake_up) = bench.wake_up(1) else { unreachable!() };
    bench.call(json!("meanwhile")).await.unwrap();
    bench.work().await; // finds POLL and drops the callback's wake-up
    assert_eq!(
        bench.call_engine().send_and_commit(&wake_up, ended, &record, &lease).await.unwrap(),
        Handled::Delete
    );
    bench.work().await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "Polled", "meanwhile"]}));
}

#[tokio::test]
async fn a_wait_for_a_callback_ends_at_its_deadline() {
    let bench = Bench::new();
    bench.invoke(&["callback or fail", "done"]).await;
    bench.pass(secs(99)).await;
    assert_eq!(bench.record().await.state, State::Callback);
    bench.pass(secs(1)).await;
    let record = bench.record().await;
    assert_eq!(record.err, "plugin schedule failed: no callback came in the time given for it");

    let bench = Bench::new();
    bench.invoke(&["callback or run", "done"]).await;
    bench.pass(secs(100)).await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["Invoked", "TimedOut"]}));
}

#[tokio::test]
async fn a_deadline_of_a_wait_that_ended_well_does_nothing() {
    let bench = Bench::new();
    bench.invoke(&["callback or fail", "callback", "done"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.pass(secs(200)).await;
    assert_eq!(bench.record().await.state, State::Callback);
    bench.call(json!(2)).await.unwrap();
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_callback_whose_wake_up_seems_to_come_from_the_future_is_not_lost() {
    let bench = Bench::new();
    bench.invoke(&["callback", "done"]).await;
    let receipt = Receipt::random();
    let entry = InboxEntry {
        receipt: receipt.clone(),
        callback_id: bk_plugin_core::ids::CallbackId::random(),
        data: json!(1),
    };
    bench.store.append(&bench.trace_id, &Append { entry, stub: None }).await.unwrap();
    // Sent by a machine whose clock is three seconds ahead.
    let due_at = bench.clock.now() + secs(3);
    let trace_id = bench.trace_id.clone();
    let wake_up = WakeUp::for_callback(trace_id, receipt, due_at);
    bench.store.send(&Message::WakeUp(wake_up), Duration::ZERO).await.unwrap();
    bench.pass(secs(4)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn callbacks_without_end_are_refused() {
    let bench = Bench::new();
    bench.invoke(&["poll", "callback", "done"]).await;
    for number in 0..Record::LARGEST_INBOX {
        bench.call(json!(number)).await.unwrap();
    }
    let refused = bench.call(json!("one more")).await;
    assert!(
        matches!(refused, Err(CallbackError::Store(StoreError::InboxFull { limit: 1000 }))),
        "{refused:?}"
    );
}
