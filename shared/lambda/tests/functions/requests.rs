//! What each kind of invocation costs in requests to AWS, pinned: `docs/cost.md` reckons with these numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::cloud::Cloud;

const SECOND: Duration = Duration::from_secs(1);

fn requests(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(operation, count)| ((*operation).to_owned(), *count)).collect()
}

#[tokio::test]
async fn an_invocation_that_ends_at_once_costs_nothing() {
    let cloud = Cloud::new().await;
    for last in ["end", "fail"] {
        cloud.invoke(json!({ "path": [last] }), true).await;
    }
    assert_eq!(cloud.aws.take_requests(), requests(&[]));
}

#[tokio::test]
async fn a_poll_step_costs_two_writes_and_a_message() {
    let cloud = Cloud::new().await;
    cloud.invoke(json!({ "path": ["poll", "poll", "end"] }), false).await;
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 1), ("SQS.SendMessage", 1)]));
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 2), ("SQS.SendMessage", 1)]));
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 2)]), "the last step");
}

#[tokio::test]
async fn the_last_step_with_a_finish_callback_costs_a_message_and_a_write_more() {
    let cloud = Cloud::new().await;
    cloud.invoke(json!({ "path": ["poll", "end"] }), true).await;
    cloud.aws.take_requests();
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 2), ("SQS.SendMessage", 1)]));
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.GetItem", 1), ("DynamoDB.UpdateItem", 1)]));
    assert_eq!(cloud.posts(), 1);
}

#[tokio::test]
async fn a_callback_costs_a_message_and_a_write_and_its_step_two_writes() {
    let cloud = Cloud::new().await;
    let (_, data) = cloud.invoke(json!({ "path": ["callback", "end"] }), false).await;
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 1)]), "nobody need be woken");
    assert_eq!(cloud.call_back(&data["outputs"]["url"], &json!(1)).await.0, 200);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 1), ("SQS.SendMessage", 1)]));
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.UpdateItem", 2)]));
}

#[tokio::test]
async fn asking_costs_a_read() {
    let cloud = Cloud::new().await;
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll"] }), false).await;
    cloud.aws.take_requests();
    assert_eq!(cloud.schedule(&trace_id).await["state"], 2);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.GetItem", 1)]));
}

#[tokio::test]
async fn a_hop_costs_a_read_and_a_message() {
    let cloud = Cloud::new().await;
    let (trace_id, _) = cloud.invoke(json!({ "path": ["poll", "end"], "interval": 1200 }), false).await;
    cloud.aws.take_requests();
    assert_eq!(cloud.tick(Duration::from_secs(899)).await, 0);
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.aws.take_requests(), requests(&[("DynamoDB.GetItem", 1), ("SQS.SendMessage", 1)]));
    assert_eq!(cloud.tick(Duration::from_secs(299)).await, 0);
    assert_eq!(cloud.tick(SECOND).await, 1);
    assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
}

/// A kilobyte of a record's text costs as much with every write as it did with the first.
#[tokio::test]
async fn text_that_compresses_is_stored_in_fewer_write_units() {
    let cloud = Cloud::new().await;
    cloud.invoke(json!({ "path": ["poll"], "text": "中文".repeat(5000) }), false).await;
    let item = cloud.aws.items("invocations").remove(0);
    assert!(item["inputs"]["B"].is_string() && item["outputs"]["B"].is_string(), "{item}");
    assert!(item.to_string().len() < 3000, "{}", item.to_string().len());
}
