//! What goes wrong, and what becomes of it.

use super::*;

#[tokio::test]
async fn polling_runs_to_its_end_and_the_finish_callback_is_sent_once() {
    let bench = Bench::new();
    assert_eq!(bench.invoke(&["poll", "poll", "done"]).await.state, State::Poll);
    bench.pass(secs(19)).await;
    assert_eq!(bench.record().await.invoke_count, 2);
    bench.pass(secs(1)).await;
    let record = bench.record().await;
    assert_eq!((record.state, record.invoke_count, record.owed), (State::Success, 3, false));
    assert_eq!(record.outputs, json!({"trail": ["Invoked", "Polled", "Polled"]}));
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1);
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_dead_runners_lease_ends_and_the_step_runs() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.claim_and_die(1).await;
    bench.pass(secs(80)).await;
    assert_eq!(bench.record().await.state, State::Poll, "the lease of 85 seconds lives");
    bench.pass(secs(5)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_process_that_was_frozen_writes_nothing_late() {
    let bench = Bench::new();
    let asked = AtomicU32::new(0);
    let ask = || async {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let until = bench.call_engine().retry_deadline();
    bench.call_engine().retry_until(until, ask).await.unwrap();
    bench.clock.advance(secs(100));
    assert!(matches!(bench.call_engine().retry_until(until, ask).await, Err(StoreError::Unavailable(_))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_step_over_its_time_limit_fails() {
    let bench = Bench::new();
    bench.invoke(&["poll", "hang"]).await;
    bench.clock.advance(secs(10));
    let ticking = async {
        loop {
            tokio::task::yield_now().await;
            bench.clock.advance(secs(1));
        }
    };
    tokio::select! {
        () = bench.work() => {}
        () = ticking => {}
    }
    let record = bench.record().await;
    assert_eq!(record.err, "plugin schedule failed: the step took longer than its time limit of 60 s");
}

#[tokio::test]
async fn a_version_may_have_a_shorter_time_limit_than_its_process() {
    let bench = Bench::new();
    let limit =
        |call: EngineCall<'_>, own| call.step_time_limit(&Meta::version("1.0.0").step_time_limit(own));
    assert_eq!(limit(bench.call_engine(), secs(5)), secs(5));
    assert_eq!(limit(bench.call_engine(), secs(3600)), Limits::default().step_time_limit);
    let now = bench.clock.now();
    let killed_soon = || {
        let time_budget = Some(TimeBudget::new(now, now + secs(40)));
        bench.engine.for_call(CallContext { time_budget, ..CallContext::default() })
    };
    assert_eq!(limit(killed_soon(), secs(5)), secs(5));
    assert_eq!(limit(killed_soon(), secs(59)), secs(32), "8 s are kept for the result");
}

#[tokio::test]
async fn a_state_too_large_fails_with_size_and_limit() {
    let bench = Bench::new();
    bench.invoke(&["poll", "big"]).await;
    bench.pass(secs(10)).await;
    let record = bench.record().await;
    assert_eq!(record.state, State::Fail);
    assert!(record.err.contains("the limit is 409600"), "{}", record.err);
    let bench = Bench::new();
    let first = bench.invoke(&["big"]).await;
    assert!(first.err.unwrap().contains("the limit is 409600"));
}

#[tokio::test]
async fn an_authors_error_with_too_large_a_state_ends_too() {
    let bench = Bench::new();
    bench.invoke(&["poll", "big fail"]).await;
    bench.pass(secs(10)).await;
    let record = bench.record().await;
    assert_eq!((record.state, record.invoke_count), (State::Fail, 2));
    assert!(record.err.starts_with("plugin schedule failed: as asked ("), "{}", record.err);
    assert!(record.err.contains("the limit is 409600"), "{}", record.err);
}

#[tokio::test]
async fn a_hop_of_a_long_wait_that_was_received_too_often_ends_nothing() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.clock.advance(secs(900));
    let hop = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    assert_eq!(bench.call_engine().handle(&hop.message, 6).await, Handled::Delete);
    bench.store.delete(&hop.handle).await.unwrap();
    assert_eq!(bench.record().await.state, State::Poll);
    bench.pass(secs(2700)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_commit_that_was_made_but_reported_as_failed_is_not_repeated() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    let delivery = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    let Message::WakeUp(wake_up) = &delivery.message else { panic!("a wake-up") };
    let lease = bench.call_engine().new_lease(bench.clock.now());
    let Claim::Granted(mut record) =
        bench.call_engine().claim(wake_up, &lease, bench.clock.now()).await.unwrap()
    else {
        panic!("not claimed")
    };
    let ended = bench.call_engine().run_claimed(&mut record, ()).await.unwrap();
    let commit = bench.call_engine().commit_of(ended, &record, bench.clock.now());
    bench.store.commit(&bench.trace_id, &lease.token, &commit).await.unwrap();
    let again = StepResult { next: Some(Next::done()), ..StepResult::fail(String::new()) };
    let handled = bench.call_engine().send_and_commit(wake_up, again, &record, &lease).await.unwrap();
    assert_eq!(handled, Handled::Delete);
    bench.work().await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1, "the finish callback waits for nothing");
}

#[tokio::test]
async fn outputs_that_could_not_be_read_back_fail() {
    let bench = Bench::new();
    bench.invoke(&["poll", "deep"]).await;
    bench.pass(secs(10)).await;
    let record = bench.record().await;
    assert!(record.err.contains("outputs: nested deeper than 100 levels"), "{}", record.err);
    assert_eq!(record.outputs, json!({"trail": ["Invoked"]}));
}

#[tokio::test]
async fn a_store_that_is_away_ends_nothing() {
    let bench = Bench::new();
    bench.invoke(&["poll", "poll", "done"]).await;
    bench.unreliable.failures.store(7, Ordering::Relaxed);
    bench.pass(secs(300)).await;
    assert_eq!(bench.record().await.state, State::Success);
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn finish_callbacks_are_retried_and_given_up() {
    let bench = Bench::new();
    bench.receiver.failures.store(3, Ordering::Relaxed);
    bench.invoke(&["poll", "done"]).await;
    bench.pass(secs(60)).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 4);

    let bench = Bench::new();
    bench.receiver.failures.store(1000, Ordering::Relaxed);
    bench.invoke(&["poll", "done"]).await;
    bench.pass(secs(100_000)).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 12);
    assert!(!bench.record().await.owed);
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_version_that_went_away_ends_in_fail() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    let record = Record { plugin_version: "0.9.0".to_owned(), ..*bench.record().await };
    let other = Bench::new();
    other.store.create(&record, None).await.unwrap();
    let due_at = other.clock.now();
    let wake_up = WakeUp::for_step(record.trace_id.clone(), 1, due_at);
    assert_eq!(other.call_engine().handle(&Message::WakeUp(wake_up), 1).await, Handled::Delete);
    let record = other.store.read(&record.trace_id).await.unwrap().unwrap();
    assert_eq!(record.err, "plugin schedule failed: version 0.9.0 is not deployed any more");
}
