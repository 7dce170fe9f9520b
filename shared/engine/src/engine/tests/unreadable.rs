//! Messages of a newer release. `HOUR` is how long they are left.

use super::*;

const HOUR: Duration = Duration::from_mins(61);

impl Bench {
    /// A message about the invocation, of which only that can be read.
    async fn send_newer(&self) {
        let body = json!({ "format": 2, "kind": "wake_up", "trace_id": self.trace_id.as_str(), "n": 1 });
        let message = Message::parse(&body.to_string()).unwrap();
        self.store.send(&message, Duration::ZERO).await.unwrap();
    }

    /// Replaces all messages by one of a newer release, which may be any of them.
    async fn replace_by_newer(&self) {
        let due = self.store.next_due().unwrap();
        self.clock.advance(due);
        for delivery in self.store.receive(10, Duration::ZERO).await.unwrap() {
            self.store.delete(&delivery.handle).await.unwrap();
        }
        self.send_newer().await;
    }

    fn newer(&self) -> Vec<bk_plugin_core::queue::Unreadable> {
        let messages = self.store.messages().into_iter();
        let unreadable = messages.filter_map(|message| match message {
            Message::Unreadable(unreadable) => Some(unreadable),
            _ => None,
        });
        unreadable.collect()
    }
}

#[tokio::test]
async fn an_invocation_that_nothing_else_wakes_ends_after_an_hour() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.replace_by_newer().await;
    bench.pass(secs(3660 - 120)).await;
    assert_eq!(bench.record().await.state, State::Poll);
    let left = bench.newer();
    assert_eq!(left.len(), 1, "it is left");
    let body = Message::Unreadable(left[0].clone()).to_body().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["format"], &body["n"]), (&json!(2), &json!(1)), "as it is");
    bench.pass(secs(180)).await;
    let record = bench.record().await;
    assert_eq!((record.state, record.invoke_count), (State::Fail, 2));
    assert!(record.err.contains("the wake-up for step 2 cannot be read: it has format 2"), "{}", record.err);
    assert_eq!(record.outputs, json!({"trail": ["Invoked"]}));
    bench.work().await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1, "the caller is told");
    assert!(bench.store.messages().is_empty());
}

#[tokio::test]
async fn a_good_wake_up_beside_it_goes_on() {
    let bench = Bench::new();
    bench.invoke(&["poll", "poll an hour", "poll an hour", "done"]).await;
    bench.send_newer().await;
    // Longer than an hour at one step, which is due later.
    bench.pass(secs(10) + secs(7200)).await;
    assert_eq!(bench.record().await.state, State::Success);
    bench.pass(secs(60)).await;
    assert!(bench.store.messages().is_empty(), "{:?}", bench.store.messages());
}

#[tokio::test]
async fn while_its_step_is_not_due_it_comes_once_a_minute() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.send_newer().await;
    bench.work().await;
    assert_eq!(bench.store.next_due(), Some(secs(60)));
}

#[tokio::test]
async fn a_long_poll_is_waited_for_before_the_hour_begins() {
    let bench = Bench::new();
    bench.invoke(&["poll an hour", "done"]).await;
    bench.replace_by_newer().await; // of the first hop, 15 minutes after the call
    bench.pass(secs(2700 + 3660 - 180)).await;
    assert_eq!(bench.record().await.state, State::Poll);
    bench.pass(secs(300)).await;
    assert_eq!(bench.record().await.state, State::Fail);
}

#[tokio::test]
async fn one_that_waits_for_a_callback_has_lost_nothing() {
    let bench = Bench::new();
    bench.invoke(&["callback", "done"]).await;
    bench.send_newer().await;
    bench.pass(HOUR * 2).await;
    assert_eq!(bench.record().await.state, State::Callback);
    assert!(bench.store.messages().is_empty(), "it is dropped");
    bench.call(json!(1)).await.unwrap();
    bench.work().await;
    assert_eq!(bench.record().await.state, State::Success);
}

#[tokio::test]
async fn a_callback_whose_wake_up_cannot_be_read_ends_it_after_an_hour() {
    let bench = Bench::new();
    bench.invoke(&["callback", "done"]).await;
    bench.call(json!(1)).await.unwrap();
    bench.replace_by_newer().await;
    bench.pass(HOUR).await;
    assert!(bench.record().await.err.contains("cannot be read"));
}

#[tokio::test]
async fn an_outage_uses_none_of_the_hour_up() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.replace_by_newer().await;
    bench.pass(secs(60)).await;
    bench.clock.advance(HOUR * 10);
    bench.pass(secs(3660 - 300)).await;
    assert_eq!(bench.record().await.state, State::Poll);
}

#[tokio::test]
async fn a_newer_release_that_comes_back_takes_it() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.replace_by_newer().await;
    bench.pass(secs(1800)).await;
    let left = bench.newer().remove(0);
    assert!(left.unread.times > 20 && left.unread.after_step == 1, "{:?}", left.unread);
    // The newer release sends the next wake-up, then commits; a rollback finds it at that step, and counts from there.
    bench.claim_and_die(1).await;
    let lease = bench.record().await.lease.unwrap();
    let commit = Commit {
        state: State::Poll,
        invoke_count: 2,
        storage: None,
        outputs: None,
        err: String::new(),
        deadline: None,
        consume: false,
        owed: false,
        finish_at: None,
        expires_at: None,
        inbox_len: None,
    };
    bench.store.commit(&bench.trace_id, &lease.token, &commit).await.unwrap();
    bench.pass(secs(3660 - 180)).await;
    assert_eq!(bench.record().await.state, State::Poll);
    bench.pass(secs(300)).await;
    assert_eq!((bench.record().await.state, bench.record().await.invoke_count), (State::Fail, 3));
}

#[tokio::test]
async fn a_post_whose_message_cannot_be_read_is_made_after_an_hour() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.clock.advance(secs(10));
    let wake_up = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
    assert_eq!(bench.call_engine().handle(&wake_up.message, 1).await, Handled::Delete);
    bench.store.delete(&wake_up.handle).await.unwrap();
    bench.replace_by_newer().await;
    bench.pass(secs(3660 - 120)).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 0);
    bench.pass(secs(180)).await;
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1);
    assert!(!bench.record().await.owed);
}

#[tokio::test]
async fn its_receptions_count_as_no_crash() {
    let bench = Bench::new();
    bench.invoke(&["poll", "done"]).await;
    bench.replace_by_newer().await;
    for _ in 0..10 {
        let delivery = bench.store.receive(1, Duration::ZERO).await.unwrap().remove(0);
        // A runner of the newer release may have died before. It may have run the step alone: then the record tells.
        assert_eq!(bench.call_engine().handle(&delivery.message, 2).await, Handled::Delete);
        bench.store.delete(&delivery.handle).await.unwrap();
        assert_eq!(Message::Unreadable(bench.newer().remove(0)).crashes(2), 0);
        bench.clock.advance(secs(60));
    }
}
