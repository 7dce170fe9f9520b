//! Events, and what happens to their messages.

use std::time::Duration;

use serde_json::json;

use crate::client::{VISIBILITY_TIMEOUT, World};

#[tokio::test]
async fn an_event_is_as_lambda_sends_it() {
    let world = World::with_queue().await;
    world
        .call(
            "SendMessage",
            json!({
                "MessageBody": "a",
                "MessageAttributes": {"name": {"DataType": "String", "StringValue": "v"}},
                "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}},
            }),
        )
        .await;
    world.aws.take_requests();
    let event = world.aws.event_source_mapping("q", 10).receive_batch().unwrap();
    let record = &event["Records"][0];
    let expected = json!({
        "messageId": record["messageId"],
        "receiptHandle": record["receiptHandle"],
        "body": "a",
        "attributes": {
            "AWSTraceHeader": "Root=1",
            "ApproximateFirstReceiveTimestamp": "1800000000000",
            "ApproximateReceiveCount": "1",
            "SenderId": record["attributes"]["SenderId"],
            "SentTimestamp": "1800000000000",
        },
        "messageAttributes": {"name": {
            "stringValue": "v", "stringListValues": [], "binaryListValues": [], "dataType": "String",
        }},
        "md5OfBody": "0cc175b9c0f1b6a831c399e269772661",
        "eventSource": "aws:sqs",
        "eventSourceARN": world.aws.queue_arn("q"),
        "awsRegion": local_aws::REGION,
    });
    assert_eq!(event, json!({"Records": [expected]}));
    assert!(record["messageId"].is_string() && record["receiptHandle"].is_string());
    assert!(world.aws.requests().is_empty());
}

#[tokio::test]
async fn what_is_not_named_as_failed_is_deleted() {
    let world = World::with_queue().await;
    for body in ["a", "b", "c"] {
        world.send(body).await;
    }
    let mapping = world.aws.event_source_mapping("q", 2);
    let event = mapping.receive_batch().unwrap();
    assert_eq!(event["Records"].as_array().unwrap().len(), 2);
    let failed = json!({"batchItemFailures": [{"itemIdentifier": event["Records"][1]["messageId"]}]});
    assert_eq!(mapping.settle(&event, &failed), 1);

    let event = mapping.receive_batch().unwrap();
    assert_eq!(event["Records"][0]["body"], "c");
    assert!(mapping.receive_batch().is_none());
    assert_eq!(mapping.settle(&event, &json!({"batchItemFailures": []})), 1);

    world.advance(VISIBILITY_TIMEOUT.as_secs());
    let event = mapping.receive_batch().unwrap();
    assert_eq!(event["Records"][0]["body"], "b");
    assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(mapping.settle(&event, &json!(null)), 1);
    assert!(world.aws.messages("q").is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_fails_all() {
    let world = World::with_queue().await;
    world.send("a").await;
    let mapping = world.aws.event_source_mapping("q", 10);
    let event = mapping.receive_batch().unwrap();
    for response in [
        json!("text"),
        json!({"batchItemFailures": "all"}),
        json!({"batchItemFailures": [{}]}),
        json!({"batchItemFailures": [{"itemIdentifier": ""}]}),
        json!({"batchItemFailures": [{"itemIdentifier": "another"}]}),
    ] {
        assert_eq!(mapping.settle(&event, &response), 0, "{response}");
    }
    for response in [json!({}), json!({"batchItemFailures": null})] {
        assert_eq!(mapping.settle(&event, &response), 1, "{response}");
    }
}

#[tokio::test]
async fn it_can_wait_for_a_batch() {
    let world = World::with_queue().await;
    world.call("SendMessage", json!({"MessageBody": "a", "DelaySeconds": 5})).await;
    let mapping = world.aws.event_source_mapping("q", 10);
    let batch = tokio::spawn(async move { mapping.wait_for_batch(Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!batch.is_finished());
    world.advance(5);
    assert_eq!(batch.await.unwrap().unwrap()["Records"][0]["body"], "a");
}
