//! Batches: what is answered of each message, crashes of the function, dead letters.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use bk_plugin_core::clock::{Clock as _, Timestamp};
use serde_json::{Value, json};

use crate::cloud::{Cloud, TIME_OUT, VISIBILITY};

const SECOND: Duration = Duration::from_secs(1);

fn batch(records: &Value) -> SqsEvent {
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

fn record(id: &str, body: &str, receive_count: u32) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": id,
        "body": body,
        "attributes": { "ApproximateReceiveCount": receive_count.to_string() },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:wake-ups",
    })
}

fn wake_up(trace_id: &str, after_step: u32, due_at: Timestamp) -> String {
    json!({
        "format": 1, "kind": "wake_up", "trace_id": trace_id, "after_step": after_step,
        "due_at": due_at.as_millis(), "put_backs": 0, "crashes": 0,
    })
    .to_string()
}

#[tokio::test]
async fn only_what_cannot_be_read_stays() {
    let cloud = Cloud::new().await;
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), false).await;
    cloud.clock.advance(SECOND);
    let now = cloud.clock.now();
    let event = batch(&json!([
        record("bad", "garbage", 1),
        record("good", &wake_up(&trace_id, 1, now), 1),
        record("stale", &wake_up(&trace_id, 0, now), 1),
    ]));
    let response = cloud.poll_tick.handle(event, now + TIME_OUT).await;
    let stay: Vec<&str> =
        response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(stay, ["bad"]);
    assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
}

#[tokio::test]
async fn a_step_that_blocks_its_thread_holds_up_no_other_of_its_batch() {
    let cloud = Cloud::new().await;
    let (blocking, _) = cloud.invoke(json!({ "path": ["poll", "block"] }), false).await;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(cloud.invoke(json!({ "path": ["poll", "end"] }), false).await.0);
    }
    cloud.clock.advance(SECOND);
    let event: SqsEvent = serde_json::from_value(cloud.wake_ups.receive_batch().unwrap()).unwrap();
    assert_eq!(event.records.len(), 10);
    let ends_at = cloud.clock.now() + TIME_OUT;
    let others_end = async {
        for trace_id in &others {
            while cloud.schedule(trace_id).await["state"] != 4 {
                tokio::task::yield_now().await;
            }
        }
        // So that less than eight seconds are left.
        cloud.clock.advance(SECOND * 53);
    };
    let (response, ()) = futures::join!(cloud.poll_tick.handle(event, ends_at), others_end);
    assert!(response.batch_item_failures.is_empty());
    let data = cloud.schedule(&blocking).await;
    assert_eq!(data["err"], "plugin schedule failed: the step took longer than its time limit of 52 s");
}

#[tokio::test]
async fn a_crash_is_followed_by_another_delivery() {
    let cloud = Cloud::new().await;
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), false).await;
    cloud.crashes.store(true, Ordering::Relaxed);
    assert_eq!(cloud.tick(SECOND).await, 0);
    assert_eq!(cloud.tick(VISIBILITY).await, 1);
    assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
}

#[tokio::test]
async fn what_crashed_together_is_run_apart() {
    let cloud = Cloud::new().await;
    let mut invoked = Vec::new();
    for _ in 0..3 {
        invoked.push(cloud.invoke(json!({ "path": ["poll", "end"] }), false).await.0);
    }
    cloud.crashes.store(true, Ordering::Relaxed);
    assert_eq!(cloud.tick(SECOND).await, 0);
    // One of the three is run, the others are put back for later, apart from each other.
    assert_eq!(cloud.tick(VISIBILITY).await, 3);
    let mut finished = 0;
    for trace_id in &invoked {
        finished += u32::from(cloud.schedule(trace_id).await["state"] == 4);
    }
    assert_eq!(finished, 1);
    // Their originals are gone already: if the first had killed the function, they would not be counted with it.
    assert_eq!(cloud.aws.messages("wake-ups").len(), 2);
    assert_eq!(cloud.tick(SECOND).await, 0);
    for _ in 0..2 {
        assert_eq!(cloud.tick(SECOND).await, 1);
        cloud.clock.advance(SECOND);
    }
    for trace_id in &invoked {
        assert_eq!(cloud.schedule(trace_id).await["state"], 4);
    }
}

/// The process dies of one message, whatever else is in the batch; only its invocation fails for that.
#[tokio::test]
async fn a_deadly_message_takes_no_other_with_it() {
    let cloud = Cloud::new().await;
    let (deadly, _) = cloud.invoke(json!({ "path": ["poll", "die"] }), true).await;
    let mut innocent = Vec::new();
    for _ in 0..3 {
        innocent.push(cloud.invoke(json!({ "path": ["poll", "end"] }), false).await.0);
    }
    let began = cloud.clock.now();
    while cloud.schedule(&deadly).await["state"] == 2 {
        assert!(cloud.clock.now() < began + VISIBILITY * 30, "it never ends");
        cloud.tick(SECOND * 30).await;
        cloud.tick_of_dead_letters().await;
    }
    let data = cloud.schedule(&deadly).await;
    assert!(data["err"].as_str().unwrap().contains("never came to its end"), "{data}");
    for trace_id in innocent {
        assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
    }
    cloud.work().await;
    assert_eq!(cloud.posts(), 1, "the caller is told");
}

/// Messages of a newer release, about invocations that have lost their own wake-up, have one, and need none. They are
/// dead letters: a former release has left them there.
#[tokio::test]
async fn what_a_newer_release_has_sent_is_left_for_an_hour() {
    let cloud = Cloud::new().await;
    let (lost, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), true).await;
    cloud.clock.advance(SECOND);
    let wake_up = cloud.wake_ups.receive_batch().unwrap();
    cloud.wake_ups.settle(&wake_up, &json!({ "batchItemFailures": [] }));
    let (woken, _) = cloud.invoke(json!({ "path": ["poll", "end"], "interval": 7200 }), false).await;
    let (waiting, data) = cloud.invoke(json!({ "path": ["callback", "end"] }), false).await;
    let dead = |id: &str, body: &str| {
        let mut record = record(id, body, 6);
        record["eventSourceARN"] = json!(cloud.aws.queue_arn("dead-letters"));
        record
    };
    let newer = |trace_id: &str| json!({ "format": 2, "kind": "wake_up", "trace_id": trace_id }).to_string();
    let event = batch(&json!([
        dead("lost", &newer(&lost)),
        dead("woken", &newer(&woken)),
        dead("waiting", &newer(&waiting)),
        dead("garbage", "garbage"),
    ]));
    let response = cloud.poll_tick.handle(event, cloud.clock.now() + TIME_OUT).await;
    assert!(response.batch_item_failures.is_empty());
    let pass = async |minutes: u64| {
        for _ in 0..minutes * 6 {
            cloud.tick(SECOND * 10).await;
            assert_eq!(cloud.tick_of_dead_letters().await, 0, "it is not received in vain");
        }
    };
    pass(57).await;
    assert_eq!(cloud.schedule(&lost).await["state"], 2);
    pass(5).await;
    let failed = cloud.schedule(&lost).await;
    assert_eq!(failed["state"], 5);
    assert!(failed["err"].as_str().unwrap().contains("format 2"), "{failed}");
    assert_eq!(cloud.posts(), 1);
    pass(65).await;
    assert_eq!(cloud.schedule(&woken).await["state"], 4);
    // Who waits for a callback has lost nothing.
    assert_eq!(cloud.call_back(&data["outputs"]["url"], &json!("late")).await.0, 200);
    cloud.work().await;
    assert_eq!(cloud.schedule(&waiting).await["outputs"]["heard"], json!(["late"]));
    assert!(cloud.aws.messages("wake-ups").is_empty());
}

#[tokio::test]
async fn messages_that_come_twice_are_run_once() {
    let cloud = Cloud::new().await;
    cloud.aws.deliver_twice("wake-ups", 3);
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll", "poll", "end"] }), true).await;
    cloud.work().await;
    assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
    assert_eq!(cloud.posts(), 1);
}

/// Throttling, or a deployment that does not start, is received in vain as often as you like.
#[tokio::test]
async fn what_was_never_begun_ends_nothing() {
    let cloud = Cloud::new().await;
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), true).await;
    cloud.clock.advance(SECOND);
    while cloud.aws.messages("dead-letters").is_empty() {
        assert!(cloud.aws.messages("wake-ups").len() == 1, "it is in one of the two");
        // Received by Lambda, which then cannot start the function.
        cloud.wake_ups.receive_batch();
        cloud.clock.advance(VISIBILITY);
    }
    assert_eq!(cloud.tick_of_dead_letters().await, 1);
    assert_eq!(cloud.schedule(&trace_id).await["state"], 2);
    cloud.work().await;
    assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
    assert_eq!(cloud.posts(), 1);
}

/// The same with the message for the finish callback.
#[tokio::test]
async fn a_finish_callback_that_was_never_posted_is_not_given_up() {
    let cloud = Cloud::new().await;
    cloud.invoke(json!({ "path": ["poll", "end"] }), true).await;
    assert_eq!(cloud.tick(SECOND).await, 1);
    while cloud.aws.messages("dead-letters").is_empty() {
        cloud.clock.advance(VISIBILITY);
        cloud.wake_ups.receive_batch();
    }
    assert_eq!(cloud.posts(), 0);
    assert_eq!(cloud.tick_of_dead_letters().await, 1);
    cloud.work().await;
    assert_eq!(cloud.posts(), 1);
}

/// What a message was received with before is nothing to those it is received with now.
#[tokio::test]
async fn a_suspect_is_not_run_beside_others() {
    let cloud = Cloud::new().await;
    let (suspect, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), false).await;
    cloud.crashes.store(true, Ordering::Relaxed);
    cloud.tick(SECOND).await;
    cloud.clock.advance(VISIBILITY.saturating_sub(SECOND));
    let (fresh, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), false).await;
    assert_eq!(cloud.tick(SECOND).await, 2);
    assert_eq!(cloud.schedule(&fresh).await["state"], 4);
    assert_eq!(cloud.schedule(&suspect).await["state"], 2);
    cloud.work().await;
    assert_eq!(cloud.schedule(&suspect).await["state"], 4);
}

/// Every step can be found by the trace of the call that began it, in X-Ray as well.
#[tokio::test]
async fn traces_are_carried_through_the_queue() {
    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const XRAY: &str = "Root=1-67891233-abcdef012345678912345678;Sampled=1";
    let cloud = Cloud::new().await;
    let headers = [("traceparent", TRACEPARENT), ("x-amzn-trace-id", XRAY)];
    let body = json!({ "inputs": { "path": ["poll", "poll", "end"] }, "context": {} });
    cloud.call_with(&headers, "POST", "/bk_plugin/invoke/1.0.0", &body).await;
    for _ in 0..2 {
        let message: Value = serde_json::from_str(&cloud.aws.messages("wake-ups")[0].body).unwrap();
        assert_eq!(message["trace"], json!({ "traceparent": TRACEPARENT, "xray": XRAY }));
        cloud.clock.advance(SECOND);
        let event = cloud.wake_ups.receive_batch().unwrap();
        assert_eq!(event["Records"][0]["attributes"]["AWSTraceHeader"], XRAY);
        let response = cloud
            .poll_tick
            .handle(serde_json::from_value(event.clone()).unwrap(), cloud.clock.now() + TIME_OUT);
        cloud.wake_ups.settle(&event, &serde_json::to_value(response.await).unwrap());
    }
}

/// The function is killed after 20 seconds, a quarter of which is kept back for writing the result.
#[tokio::test]
async fn a_step_that_is_too_slow_ends_before_the_function_is_killed() {
    let cloud = Cloud::new().await;
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll", "die"] }), true).await;
    cloud.clock.advance(SECOND);
    let event = cloud.wake_ups.receive_batch().unwrap();
    let killed = cloud.clock.now() + SECOND * 20;
    let handled = cloud.poll_tick.handle(serde_json::from_value(event.clone()).unwrap(), killed);
    let time = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cloud.clock.advance(Duration::from_millis(250));
        }
    };
    let response = tokio::select! {
        response = handled => response,
        () = time => unreachable!("time goes on for ever"),
    };
    assert!(cloud.clock.now() < killed, "it was killed");
    cloud.wake_ups.settle(&event, &serde_json::to_value(response).unwrap());
    let data = cloud.schedule(&trace_id).await;
    assert_eq!(data["state"], 5);
    assert!(data["err"].as_str().unwrap().contains("its time limit of 15 s"), "{data}");
    cloud.work().await;
    assert_eq!(cloud.posts(), 1);
}

/// A queue that is never without others does not keep a suspect waiting for ever.
#[tokio::test]
async fn a_suspect_comes_to_its_turn_in_a_busy_queue() {
    let cloud = Cloud::new().await;
    let (suspect, _) = cloud.invoke(json!({ "path": ["poll", "end"] }), false).await;
    cloud.crashes.store(true, Ordering::Relaxed);
    cloud.tick(SECOND).await;
    cloud.clock.advance(VISIBILITY);
    let mut rounds = 0;
    let mut others = Vec::new();
    while cloud.schedule(&suspect).await["state"] == 2 {
        rounds += 1;
        assert!(rounds < 30, "it waits for ever");
        others.push(cloud.invoke(json!({ "path": ["poll", "end"] }), false).await.0);
        cloud.tick(SECOND).await;
    }
    cloud.work().await;
    for trace_id in others {
        assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
    }
}
