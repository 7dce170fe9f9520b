//! Requests that fail on demand, and the counts of requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use local_aws::Fault;
use serde_json::json;

use crate::client::World;

#[tokio::test]
async fn requests_are_counted_by_operation() {
    let world = World::with_queue().await;
    world.send("a").await;
    world.send("b").await;
    world.receive().await;
    world.post("DynamoDB_20120810.ListTables", &json!({})).await.unwrap();
    let expected = [("DynamoDB.ListTables", 1), ("SQS.ReceiveMessage", 1), ("SQS.SendMessage", 2)];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(world.aws.requests(), expected);
    assert_eq!(world.aws.take_requests(), expected);
    assert!(world.aws.requests().is_empty());
}

#[tokio::test]
async fn a_refusal_looks_like_one_of_the_service() {
    let world = World::with_queue().await;
    for (service, fault, status, error) in [
        ("AmazonSQS", Fault::Throttled, 400, "RequestThrottled"),
        ("AmazonSQS", Fault::InternalError, 500, "InternalFailure"),
        ("AmazonSQS", Fault::Unavailable, 503, "ServiceUnavailableException"),
        ("DynamoDB_20120810", Fault::Throttled, 400, "ProvisionedThroughputExceededException"),
        ("DynamoDB_20120810", Fault::InternalError, 500, "InternalServerError"),
        ("DynamoDB_20120810", Fault::Unavailable, 503, "ServiceUnavailableException"),
    ] {
        let (operation, body) = match service {
            "AmazonSQS" => ("SendMessage", json!({"QueueUrl": world.url("q"), "MessageBody": "a"})),
            _ => ("ListTables", json!({})),
        };
        let name = service.trim_start_matches("Amazon").trim_end_matches("_20120810");
        world.aws.fail_next(&format!("{name}.{operation}"), fault, 1);
        let answer = world.post(&format!("{service}.{operation}"), &body).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body["__type"].as_str().unwrap().ends_with(&format!("#{error}")), "{answer:?}");
        assert_eq!(answer.query_error.is_some(), service == "AmazonSQS");
    }
    assert!(world.aws.messages("q").is_empty());
    assert_eq!(world.aws.requests()["SQS.SendMessage"], 3);
}

#[tokio::test]
async fn faults_come_one_after_another_to_whom_they_are_for() {
    let world = World::with_queue().await;
    world.aws.fail_next("SQS.SendMessage", Fault::InternalError, 2);
    world.aws.fail_next("SQS.SendMessage", Fault::Unavailable, 1);
    assert!(world.receive().await.is_empty());
    for status in [500, 500, 503, 200] {
        assert_eq!(world.ask("SendMessage", json!({"MessageBody": "a"})).await.status, status);
    }
    world.aws.fail_next("SQS", Fault::Unavailable, usize::MAX);
    assert_eq!(world.ask("ReceiveMessage", json!({})).await.status, 503);
    assert_eq!(world.ask("SendMessage", json!({"MessageBody": "a"})).await.status, 503);
    assert_eq!(world.post("DynamoDB_20120810.ListTables", &json!({})).await.unwrap().status, 200);
    world.aws.heal();
    assert_eq!(world.receive().await.len(), 1);
}

#[tokio::test]
async fn an_answer_is_lost_though_it_is_done() {
    let world = World::with_queue().await;
    world.aws.fail_next("SQS.SendMessage", Fault::AnswerLost, 1);
    let body = json!({"QueueUrl": world.url("q"), "MessageBody": "a"});
    let lost = world.post("AmazonSQS.SendMessage", &body).await;
    assert!(lost.as_ref().is_err_and(reqwest::Error::is_request), "{lost:?}");
    assert_eq!(world.aws.messages("q").len(), 1);
    assert_eq!(world.receive().await.len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_meanwhile_has_asked_for_nothing() {
    let world = World::with_queue().await;
    let time = Duration::from_millis(200);
    world.aws.fail_next("SQS.SendMessage", Fault::Hang(time), 2);
    let body = json!({"QueueUrl": world.url("q"), "MessageBody": "a"});
    let call = world.post("AmazonSQS.SendMessage", &body);
    assert!(tokio::time::timeout(time / 4, call).await.is_err());
    tokio::time::sleep(time * 2).await;
    assert!(world.aws.messages("q").is_empty());

    let begun = Instant::now();
    world.send("a").await;
    assert!(begun.elapsed() >= time);
}
