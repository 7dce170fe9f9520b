//! The message that asks for the posts of a finish callback. It is sent before the end that it tells of is committed.

use bk_plugin_core::queue::Finish;

use super::*;

impl Bench {
    fn posts(&self) -> u32 {
        self.receiver.received.load(Ordering::Relaxed)
    }

    async fn receive(&self) -> bk_plugin_core::queue::Delivery {
        self.store.receive(1, Duration::ZERO).await.unwrap().remove(0)
    }

    /// Asks for a post that tells of an end at `finish_at`.
    async fn ask_for_post(&self, finish_at: Timestamp) {
        let finish = Finish { finish_at: Some(finish_at), ..Finish::first(self.trace_id.clone()) };
        self.store.send(&Message::Finish(finish), Duration::ZERO).await.unwrap();
    }
}

#[tokio::test]
async fn a_runner_that_dies_after_its_commit_has_asked_for_the_post() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    // Its process dies before the wake-up is deleted.
    let wake_up = bench.receive().await;
    assert_eq!(bench.call_engine().handle(&wake_up.message, wake_up.receive_count).await, Handled::Delete);
    assert!(bench.record().await.owed);
    bench.work().await;
    assert_eq!((bench.posts(), bench.record().await.owed), (1, false));
    bench.pass(bench.engine.parts.limits.visibility_timeout()).await;
    assert_eq!(bench.posts(), 1, "the wake-up that is left asks for none");
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn however_many_wake_ups_are_left_there_is_one_chain_of_posts() {
    let bench = Bench::new();
    bench.receiver.failures.store(u32::MAX, Ordering::Relaxed);
    bench.invoke(&["callback", "done"]).await;
    for number in 0..500 {
        bench.call(json!(number)).await.unwrap();
    }
    bench.work().await;
    assert_eq!((bench.record().await.state, bench.posts()), (State::Success, 1));
    assert_eq!(bench.store.messages().len(), 1, "the next attempt");
    bench.pass(secs(100_000)).await;
    assert_eq!(bench.posts(), bench.engine.parts.limits.finish_callback_attempts);
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_message_ahead_of_its_end_waits_for_it() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    let ends_at = bench.clock.now() + secs(10);
    bench.ask_for_post(ends_at).await;
    bench.pass(secs(9)).await;
    assert_eq!(bench.posts(), 0);
    bench.pass(secs(5)).await;
    assert_eq!(bench.posts(), 1, "and one that comes twice is one post");
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_message_whose_end_was_never_committed_is_dropped() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.ask_for_post(bench.clock.now()).await;
    bench.pass(bench.engine.parts.limits.put_back_limit() + secs(3)).await;
    assert_eq!((bench.posts(), bench.store.messages().len()), (0, 1), "the wake-up alone");
}

#[tokio::test]
async fn a_run_that_was_not_committed_asks_for_no_posts_of_its_own() {
    let bench = Bench::new();
    bench.receiver.failures.store(u32::MAX, Ordering::Relaxed);
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    // Sent by runs whose processes died before they committed.
    for seconds in 1..10 {
        bench.ask_for_post(Timestamp::from_millis(bench.clock.now().as_millis() - 1000 * seconds)).await;
    }
    bench.work().await;
    assert_eq!(bench.posts(), 1);
}

#[tokio::test]
async fn a_message_of_a_former_release_is_sent_after_the_end() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    let former = Message::Finish(Finish::first(bench.trace_id.clone()));
    bench.store.send(&former, Duration::ZERO).await.unwrap();
    bench.work().await;
    assert_eq!((bench.posts(), bench.store.messages().len()), (0, 1), "the wake-up alone");
    bench.clock.advance(secs(10));
    let wake_up = bench.receive().await;
    assert_eq!(bench.call_engine().handle(&wake_up.message, wake_up.receive_count).await, Handled::Delete);
    let finish = bench.receive().await;
    bench.store.delete(&finish.handle).await.unwrap();
    bench.store.send(&former, Duration::ZERO).await.unwrap();
    bench.work().await;
    assert_eq!(bench.posts(), 1);
}
