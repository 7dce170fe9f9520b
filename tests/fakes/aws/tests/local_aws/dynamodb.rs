//! The additions of this crate to `dynoxide`.

use serde_json::{Value, json};

use crate::client::World;

async fn put(world: &World, trace_id: &str, expires_at: u64) {
    let item = json!({"trace_id": {"S": trace_id}, "expires_at": {"N": expires_at.to_string()}});
    let request = json!({"TableName": "invocations", "Item": item});
    let answer = world.post("DynamoDB_20120810.PutItem", &request).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn items_expire_by_the_clock() {
    let world = World::open().await;
    world.aws.create_table("invocations");
    put(&world, "early", 1_800_000_010).await;
    put(&world, "late", 1_800_000_100).await;
    assert_eq!(world.aws.sweep_expired(), 0);
    assert_eq!(world.aws.items("invocations").len(), 2);
    world.advance(11);
    assert_eq!(world.aws.items("invocations").len(), 2, "an expired item stays until it is swept");
    assert_eq!(world.aws.sweep_expired(), 1);
    let items = world.aws.items("invocations");
    assert_eq!(items, [json!({"trace_id": {"S": "late"}, "expires_at": {"N": "1800000100"}})]);
}

#[tokio::test]
async fn errors_come_through() {
    let world = World::open().await;
    world.aws.create_table("invocations");
    put(&world, "there", 0).await;
    let request = json!({
        "TableName": "invocations",
        "Item": {"trace_id": {"S": "there"}},
        "ConditionExpression": "attribute_not_exists(trace_id)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    });
    let answer = world.post("DynamoDB_20120810.PutItem", &request).await.unwrap();
    assert_eq!(answer.status, 400);
    let error: &Value = &answer.body;
    assert_eq!(error["__type"], "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException");
    assert_eq!(error["Item"]["trace_id"]["S"], "there");
}

#[tokio::test]
async fn every_world_has_its_own_tables() {
    let (one, another) = (World::open().await, World::open().await);
    one.aws.create_table("invocations");
    another.aws.create_table("invocations");
    put(&one, "a", 0).await;
    assert!(another.aws.items("invocations").is_empty());
}
