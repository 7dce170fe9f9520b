//! Steps whose process dies, and how one of them is found guilty.

use bk_plugin_core::queue::Delivery;
use futures::FutureExt as _;

use super::*;

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Died,
    Left,
    Deleted,
}

impl Bench {
    async fn received(&self) -> Vec<Delivery> {
        self.store.receive(10, Duration::ZERO).await.unwrap()
    }

    /// Handles a delivery in a process that dies when the step hangs.
    async fn handle_or_die(&self, delivery: &Delivery) -> Became {
        match self.call_engine().handle(&delivery.message, delivery.receive_count).now_or_never() {
            None => Became::Died,
            Some(Handled::Leave) => Became::Left,
            Some(Handled::Delete) => {
                self.store.delete(&delivery.handle).await.unwrap();
                Became::Deleted
            }
        }
    }

    /// Works until the invocation has ended; how often its process died on the way.
    async fn deaths(&self) -> u32 {
        let mut deaths = 0;
        while !self.record().await.state.is_finished() {
            assert!(deaths < 20, "it runs for ever");
            for delivery in self.received().await {
                if self.handle_or_die(&delivery).await == Became::Died {
                    deaths += 1;
                    // What was received with it is redelivered with it.
                    break;
                }
            }
            self.clock.advance(secs(5));
        }
        deaths
    }

    /// The one wake-up in the queue.
    fn singled_out(&self) -> WakeUp {
        let messages = self.store.messages();
        let wake_ups: Vec<_> =
            messages.iter().filter(|message| matches!(message, Message::WakeUp(_))).collect();
        match &wake_ups[..] {
            [Message::WakeUp(wake_up)] if wake_up.alone.is_some() => wake_up.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// An invocation whose next step is only run alone.
    async fn about_to_run_alone(&self, steps: &[&str]) -> Delivery {
        self.invoke(steps).await;
        self.clock.advance(secs(10));
        let beside = self.received().await.remove(0);
        assert_eq!(self.call_engine().single_out(&beside).await, Handled::Delete);
        self.store.delete(&beside.handle).await.unwrap();
        self.received().await.remove(0)
    }
}

#[tokio::test]
async fn a_step_that_keeps_dying_ends_in_fail() {
    let bench = Bench::new();
    bench.invoke(&["poll", "hang"]).await;
    // Without a worker that suspects it earlier, it dies five times beside others, of which three count.
    assert_eq!(bench.deaths().await, 5 + 2);
    let record = bench.record().await;
    assert_eq!(record.state, State::Fail);
    assert!(record.err.contains("step 2 was started again and again"), "{}", record.err);
    bench.work().await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1);
}

/// Its own last run is accounted for. Only the run of another wake-up is waited for.
#[tokio::test]
async fn after_a_death_alone_it_is_run_again_without_delay() {
    let bench = Bench::new();
    let delivery = bench.about_to_run_alone(&["poll", "hang"]).await;
    assert_eq!(bench.handle_or_die(&delivery).await, Became::Died);
    bench.clock.advance(bench.engine.parts.limits.visibility_timeout());
    let died = bench.received().await.remove(0);
    assert_eq!(bench.handle_or_die(&died).await, Became::Deleted, "the death is counted");
    let again = bench.received().await.remove(0);
    assert_eq!(again.crashes(), 1);
    assert_eq!(bench.handle_or_die(&again).await, Became::Died);
}

#[tokio::test]
async fn two_wake_ups_of_a_step_that_keeps_dying_do_not_keep_each_other_alive() {
    let bench = Bench::new();
    bench.invoke(&["callback", "hang"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.call(json!(2)).await.unwrap();
    bench.deaths().await;
    let record = bench.record().await;
    assert!(record.err.contains("started again and again"), "{}", record.err);
}

#[tokio::test]
async fn deaths_beside_others_end_nothing() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    let delivery = bench.received().await.remove(0);
    let often = Delivery { receive_count: 1_000, ..delivery };
    assert_eq!(bench.handle_or_die(&often).await, Became::Deleted);
    assert_eq!(bench.record().await.state, State::Poll);
    assert_eq!(bench.singled_out().crashes, COUNTED_BESIDE);
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Success);
}

/// Whatever happened to its receivers before they ran it, only runs alone count.
#[tokio::test]
async fn receiving_a_message_that_is_run_alone_proves_nothing() {
    let bench = Bench::new();
    let delivery = bench.about_to_run_alone(&["poll", "done"]).await;
    let often = Delivery { receive_count: 1_000, ..delivery };
    assert_eq!(bench.handle_or_die(&often).await, Became::Deleted);
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_dead_letter_ends_nothing() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    let never_begun = bench.received().await.remove(0);
    assert_eq!(bench.call_engine().dead_letter(&never_begun.message).await, Handled::Delete);
    bench.store.delete(&never_begun.handle).await.unwrap();
    assert_eq!(bench.store.messages(), [never_begun.message]);

    bench.claim_and_die(1).await;
    bench.clock.advance(secs(100));
    let died = bench.received().await.remove(0);
    assert_eq!(bench.call_engine().dead_letter(&died.message).await, Handled::Delete);
    bench.store.delete(&died.handle).await.unwrap();
    assert_eq!(bench.singled_out().crashes, COUNTED_BESIDE);
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn an_outage_during_a_run_alone_is_not_taken_for_a_death() {
    let bench = Bench::new();
    let delivery = bench.about_to_run_alone(&["poll", "hang"]).await;
    let before = bench.singled_out();
    let mut handled = Box::pin(bench.call_engine().handle(&delivery.message, 1));
    assert!(handled.as_mut().now_or_never().is_none());
    bench.unreliable.failures.store(u32::MAX, Ordering::Relaxed);
    // The step's time limit ends it, and its FAIL cannot be written.
    let handled = loop {
        bench.clock.advance(secs(5));
        if let Some(handled) = handled.as_mut().now_or_never() {
            break handled;
        }
    };
    assert_eq!(handled, Handled::Delete);
    bench.store.delete(&delivery.handle).await.unwrap();
    bench.unreliable.failures.store(0, Ordering::Relaxed);
    assert_eq!(bench.singled_out().crashes, before.crashes);
    bench.clock.advance(secs(1000));
    let received = bench.received().await;
    let again = received.iter().find(|delivery| matches!(delivery.message, Message::WakeUp(_)));
    assert_eq!(bench.handle_or_die(again.unwrap()).await, Became::Died, "it is run again");
}

#[tokio::test]
async fn a_run_alone_waits_for_what_is_under_way() {
    let bench = Bench::new();
    let delivery = bench.about_to_run_alone(&["poll", "done"]).await;
    let under_way = bench.engine.enter().await;
    assert_eq!(bench.handle_or_die(&delivery).await, Became::Deleted);
    assert_eq!(bench.record().await.state, State::Poll, "it was put back");
    drop(under_way);
    bench.pass(secs(1)).await;
    assert_eq!(bench.record().await.state, State::Success);
}

/// A thread that never ends holds nothing up for ever. But a run beside it proves nothing.
#[tokio::test]
async fn a_run_beside_a_thread_that_is_held_proves_nothing() {
    let bench = Bench::new();
    let delivery = bench.about_to_run_alone(&["poll", "hang"]).await;
    let Message::WakeUp(wake_up) = &delivery.message else { panic!("a wake-up") };
    let waited = Message::WakeUp(WakeUp { put_backs: TRIES, ..wake_up.clone() });
    let held = bench.engine.enter().await;
    let mut handled = Box::pin(bench.call_engine().handle(&waited, 1));
    assert!(handled.as_mut().now_or_never().is_none());
    assert!(bench.record().await.lease.is_none(), "it waits");
    bench.clock.advance(bench.engine.parts.limits.step_time_limit);
    assert!(handled.as_mut().now_or_never().is_none());
    let lease = bench.record().await.lease.unwrap();
    assert_ne!(Some(&lease.token), wake_up.alone.as_ref());
    // The process dies, and the thread with it.
    drop((handled, held));
    bench.clock.advance(secs(1000));
    let again = bench.received().await.remove(0);
    assert_eq!(bench.handle_or_die(&again).await, Became::Died, "it is run again");
    assert_eq!(again.crashes(), wake_up.crashes);
}

/// Callers wait for a moment. Then they are let in, and the run alone is one no more.
#[tokio::test]
async fn others_are_held_up_for_a_moment_only() {
    let bench = Bench::new();
    let delivery = bench.about_to_run_alone(&["poll", "hang"]).await;
    let before = bench.singled_out();
    let context = CallContext { handle: Some(delivery.handle.clone()), ..CallContext::default() };
    let mut handled = Box::pin(bench.engine.for_call(context).handle(&delivery.message, 1));
    assert!(handled.as_mut().now_or_never().is_none());
    let mut caller = Box::pin(bench.engine.enter());
    assert!(caller.as_mut().now_or_never().is_none());
    bench.clock.advance(secs(1));
    assert!(handled.as_mut().now_or_never().is_none());
    assert!(caller.as_mut().now_or_never().is_some());
    let after = bench.singled_out();
    assert_ne!(after.alone, before.alone);

    drop(handled);
    bench.clock.advance(secs(1000));
    let again = bench.received().await.remove(0);
    assert_eq!(bench.handle_or_die(&again).await, Became::Died, "it is run again");
    assert_eq!(again.crashes(), before.crashes);
}
