//! Receivers that wait, with a manual clock and with the machine's clock.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bk_plugin_core::clock::{Clock, SystemClock, Timestamp};
use bk_plugin_core::memory::ManualClock;
use local_aws::{LocalAws, QueueOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{VISIBILITY_TIMEOUT, World, one};

/// Starts a receiver that waits. Its request has reached the queue when this function returns.
async fn waiting(world: &World) -> JoinHandle<Value> {
    world.aws.take_requests();
    let receiver = world.clone();
    let receiver =
        tokio::spawn(async move { receiver.call("ReceiveMessage", json!({"WaitTimeSeconds": 20})).await });
    while world.aws.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!receiver.is_finished());
    receiver
}

async fn soon(receiver: JoinHandle<Value>) -> Value {
    tokio::time::timeout(Duration::from_secs(10), receiver).await.expect("it is woken").unwrap()
}

#[tokio::test]
async fn it_wakes_for_what_is_sent() {
    let world = World::with_queue().await;
    let receiver = waiting(&world).await;
    world.send("a").await;
    assert_eq!(soon(receiver).await["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn it_wakes_for_what_becomes_due() {
    let world = World::with_queue().await;
    world.call("SendMessage", json!({"MessageBody": "a", "DelaySeconds": 3})).await;
    let receiver = waiting(&world).await;
    world.advance(3);
    assert_eq!(soon(receiver).await["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn it_wakes_for_what_is_visible_again() {
    let world = World::with_queue().await;
    world.send("a").await;
    one(world.receive().await);
    world.advance(VISIBILITY_TIMEOUT.as_secs() - 10);
    let receiver = waiting(&world).await;
    world.advance(10);
    assert_eq!(soon(receiver).await["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn it_wakes_for_what_is_made_visible() {
    let world = World::with_queue().await;
    world.send("a").await;
    let message = one(world.receive().await);
    let receiver = waiting(&world).await;
    let visible = json!({"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0});
    world.call("ChangeMessageVisibility", visible).await;
    assert_eq!(soon(receiver).await["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn it_wakes_for_a_dead_letter() {
    let world = World::open().await;
    world.aws.create_queue("q", QueueOptions::default());
    let redrive = Some(("q".to_owned(), 1));
    world.aws.create_queue("living", QueueOptions { redrive, ..QueueOptions::default() });
    world.call("SendMessage", json!({"QueueUrl": world.url("living"), "MessageBody": "a"})).await;
    one(world.receive_from("living").await);
    world.advance(VISIBILITY_TIMEOUT.as_secs());
    let receiver = waiting(&world).await;
    assert!(world.receive_from("living").await.is_empty());
    assert_eq!(soon(receiver).await["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn it_ends_in_time() {
    let world = World::with_queue().await;
    let receiver = waiting(&world).await;
    world.advance(19);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!receiver.is_finished());
    world.advance(1);
    assert_eq!(soon(receiver).await, json!({}));
}

/// A clock that moves after the queue has read it and before the queue sleeps.
struct MovedMeanwhile {
    clock: ManualClock,
    by: Mutex<Option<Duration>>,
}

#[async_trait]
impl Clock for MovedMeanwhile {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn sleep(&self, duration: Duration) {
        let by = self.by.lock().unwrap().take();
        if let Some(by) = by {
            self.clock.advance(by);
        }
        self.clock.sleep(duration).await;
    }
}

#[tokio::test]
async fn it_misses_no_move_of_the_clock() {
    let by = Duration::from_secs(3);
    let clock = MovedMeanwhile { clock: ManualClock::default(), by: Mutex::new(Some(by)) };
    let mut world = World::open().await;
    world.aws = Arc::new(LocalAws::start(Arc::new(clock)).await);
    world.aws.create_queue("q", QueueOptions::default());
    world.call("SendMessage", json!({"MessageBody": "a", "DelaySeconds": 3})).await;
    let receiver =
        tokio::spawn(async move { world.call("ReceiveMessage", json!({"WaitTimeSeconds": 20})).await });
    assert_eq!(soon(receiver).await["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn a_receiver_that_has_gone_takes_nothing_along() {
    let world = World::with_queue().await;
    let receiver = waiting(&world).await;
    receiver.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.send("a").await;
    assert_eq!(world.receive().await.len(), 1);
}

#[tokio::test]
async fn the_clock_of_the_machine_does_as_well() {
    let mut world = World::open().await;
    let aws = LocalAws::start(Arc::new(SystemClock)).await;
    let url = aws.create_queue("q", QueueOptions::default());
    world.aws = Arc::new(aws);
    world.call("SendMessage", json!({"QueueUrl": url, "MessageBody": "a", "DelaySeconds": 1})).await;
    let begun = Instant::now();
    let answer = world.call("ReceiveMessage", json!({"WaitTimeSeconds": 20})).await;
    assert_eq!(answer["Messages"][0]["Body"], "a");
    assert!((900..10_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}
