//! What the queue promises beyond the contract: an order, no work while it is idle, and receivers that wake up at
//! once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bk_plugin_core::clock::Clock as _;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Delivery, Finish, Message, Queue, Unread};
use bk_plugin_sql::sqlite::SqliteStore;
use bk_plugin_sql::{QueueDepth, Store as _};

use crate::fixture::Fixture;

const NOW: Duration = Duration::ZERO;

fn message() -> Message {
    Message::Finish(Finish { attempt: 3, ..Finish::first(TraceId::random()) })
}

async fn receive(store: &SqliteStore) -> Vec<Delivery> {
    store.receive(10, NOW).await.unwrap()
}

#[tokio::test]
async fn messages_come_in_the_order_they_are_due() {
    let fixture = Fixture::new().await;
    let messages: Vec<_> = (0..4).map(|_| message()).collect();
    for (message, delay) in messages.iter().zip([3, 1, 2, 1]) {
        fixture.store.send(message, Duration::from_secs(delay)).await.unwrap();
    }
    fixture.clock.advance(Duration::from_secs(3));
    let mut received = fixture.store.receive(3, NOW).await.unwrap();
    received.extend(receive(&fixture.store).await);
    let received: Vec<_> = received.into_iter().map(|delivery| delivery.message).collect();
    assert_eq!(received, [1, 3, 2, 0].map(|index: usize| messages[index].clone()));
}

#[tokio::test]
async fn a_waiting_receive_does_nothing_and_wakes_at_once() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let receiver = tokio::spawn(async move {
        let deliveries = store.receive(10, Duration::from_secs(20)).await.unwrap();
        (deliveries.len(), Instant::now())
    });
    settle().await;
    let reads = fixture.clock.reads.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        fixture.clock.reads.load(Ordering::Relaxed),
        reads,
        "an idle queue does not look at the clock"
    );

    let sent_at = Instant::now();
    fixture.store.send(&message(), NOW).await.unwrap();
    let (count, woken_at) = receiver.await.unwrap();
    assert_eq!(count, 1);
    assert!(woken_at - sent_at < Duration::from_millis(50), "{:?}", woken_at - sent_at);
}

#[tokio::test]
async fn the_machines_clock_wakes_a_receive_in_time() {
    let mut fixture = Fixture::new().await;
    fixture.options.clock = None;
    fixture.reopen().await;
    // A busy machine may be late, but not every time.
    let mut in_time = false;
    for _ in 0..5 {
        fixture.store.send(&message(), Duration::from_millis(150)).await.unwrap();
        let began = Instant::now();
        assert_eq!(fixture.store.receive(1, Duration::from_secs(20)).await.unwrap().len(), 1);
        let waited = began.elapsed();
        assert!(waited.as_millis() >= 140, "{waited:?}");
        in_time |= waited.as_millis() < 250;
    }
    assert!(in_time);
    assert!(fixture.store.receive(1, Duration::from_millis(50)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_handle_of_another_queue_names_no_message() {
    let fixture = Fixture::new().await;
    fixture.store.send(&message(), NOW).await.unwrap();
    for handle in ["", "a handle of another queue", "1-", "1-2-3"] {
        fixture.store.delete(handle).await.unwrap();
    }
    assert_eq!(receive(&fixture.store).await.len(), 1);
}

#[tokio::test]
async fn several_receivers_share_the_messages() {
    let fixture = Fixture::new().await;
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let store = fixture.store.clone();
            tokio::spawn(async move { store.receive(2, Duration::from_secs(20)).await.unwrap() })
        })
        .collect();
    settle().await;
    let sends = (0..6).map(|_| {
        let store = fixture.store.clone();
        tokio::spawn(async move { store.send(&message(), NOW).await.unwrap() })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap();
    }
    let mut handles = Vec::new();
    for receiver in receivers {
        handles.extend(receiver.await.unwrap().into_iter().map(|delivery| delivery.handle));
    }
    handles.extend(receive(&fixture.store).await.into_iter().map(|delivery| delivery.handle));
    handles.sort();
    handles.dedup();
    assert_eq!(handles.len(), 6);
}

#[tokio::test]
async fn a_receiver_that_has_gone_takes_no_message_with_it() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let receiver = tokio::spawn(async move { store.receive(10, Duration::from_secs(20)).await });
    settle().await;
    receiver.abort();
    settle().await;
    fixture.store.send(&message(), NOW).await.unwrap();
    assert_eq!(receive(&fixture.store).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_names_no_invocation_is_put_aside() {
    let mut fixture = Fixture::new().await;
    fixture.store.close().await;
    let mut connection = fixture.connect().await;
    for body in ["garbage", r#"{"kind":"of a later version"}"#] {
        sqlx::query("INSERT INTO messages (visible_at, receive_count, body) VALUES (0, 0, ?)")
            .bind(body)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    fixture.open().await;
    assert!(fixture.store.receive(1, NOW).await.unwrap().is_empty());
    fixture.store.send(&message(), NOW).await.unwrap();
    assert_eq!(receive(&fixture.store).await.len(), 1, "the good one beside it is received");

    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&mut connection).await.unwrap();
    let dead: Vec<(String, i64)> =
        sqlx::query_as("SELECT body, receive_count FROM dead_letters ORDER BY message_id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(left, 1);
    assert_eq!(dead, [("garbage".to_owned(), 1), (r#"{"kind":"of a later version"}"#.to_owned(), 1)]);
}

/// A newer release has sent it, and may come back: it is received as one that cannot be read, and sent again as it was.
#[tokio::test]
async fn a_message_of_a_newer_release_is_kept_as_it_is() {
    let mut fixture = Fixture::new().await;
    fixture.store.close().await;
    let mut connection = fixture.connect().await;
    let newer = format!(r#"{{"format":2,"kind":"nudge","trace_id":"{}","n":[1,0.1]}}"#, TraceId::random());
    sqlx::query("INSERT INTO messages (visible_at, receive_count, body) VALUES (0, 0, ?)")
        .bind(&newer)
        .execute(&mut connection)
        .await
        .unwrap();
    fixture.open().await;
    let delivery = receive(&fixture.store).await.remove(0);
    let Message::Unreadable(unreadable) = &delivery.message else { panic!("{delivery:?}") };
    let left = unreadable.left(Unread { after_step: 1, times: 1 });
    fixture.store.send(&Message::Unreadable(left), NOW).await.unwrap();
    fixture.store.delete(&delivery.handle).await.unwrap();

    let (body, receive_count): (String, i64) =
        sqlx::query_as("SELECT body, receive_count FROM messages").fetch_one(&mut connection).await.unwrap();
    let unread = r#","unread":{"after_step":1,"times":1}}"#;
    assert_eq!((body, receive_count), (format!("{}{unread}", newer.trim_end_matches('}')), 0));
    let depth = fixture.store.queue_depth(fixture.clock.now()).await.unwrap();
    assert_eq!(depth, QueueDepth { due: 1, ..QueueDepth::default() });
}

/// Gives the other tasks and the database time to get to where they wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

#[tokio::test]
async fn the_depth_tells_what_waits_from_what_is_worked_on() {
    let fixture = Fixture::new().await;
    for delay in [0, 0, 0, 60] {
        fixture.store.send(&message(), Duration::from_secs(delay)).await.unwrap();
    }
    assert_eq!(fixture.store.receive(1, NOW).await.unwrap().len(), 1);
    let depth = fixture.store.queue_depth(fixture.clock.now()).await.unwrap();
    assert_eq!(depth, QueueDepth { due: 2, delayed: 1, in_flight: 1, dead_letters: 0 });
}
