//! An item that a newer release has written in its own format: this release reads none of it and changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use bk_plugin_aws::Clients;
use bk_plugin_aws::dynamodb::DynamoDbTable;
use bk_plugin_core::ids::LeaseToken;
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::record::State;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Table as _};
use contract::sample::{START, applied, early, ended, entry, late, lease, record};
use local_aws::LocalAws;
use serde_json::json;

#[tokio::test]
async fn an_item_of_a_newer_format_is_left_as_it_is() {
    let aws = LocalAws::start(Arc::new(ManualClock::default())).await;
    aws.create_table("invocations");
    let clients = Clients::new(&|name| match name {
        "AWS_ENDPOINT_URL" => Some(aws.endpoint().to_owned()),
        "AWS_SESSION_TOKEN" => None,
        _ => Some("us-east-1".to_owned()),
    });
    let client = clients.unwrap().dynamodb();
    let table = DynamoDbTable::new(client.clone(), "invocations");
    let record = record(State::Poll);
    let trace_id = &record.trace_id;
    applied(table.create(&record, None).await.unwrap());
    let newer = client.update_item().table_name("invocations");
    newer
        .key("trace_id", AttributeValue::S(trace_id.to_string()))
        .update_expression("SET #format = :newer")
        .expression_attribute_names("#format", "format")
        .expression_attribute_values(":newer", AttributeValue::N("2".to_owned()))
        .send()
        .await
        .unwrap();
    let before = aws.items("invocations");

    let (on, entry) = (ClaimOn::Step(1), entry(json!(1)));
    let answers = [
        table.read(trace_id).await.map(drop),
        table.create(&record, None).await.map(drop),
        table.claim(trace_id, &on, &lease(), START).await.map(drop),
        table.commit(trace_id, &LeaseToken::random(), &ended()).await.map(drop),
        table.append(trace_id, &early(&entry)).await.map(drop),
        table.append(trace_id, &late(&entry)).await.map(drop),
    ];
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains(trace_id.as_str()), "{error}");
    }
    table.settle(trace_id).await.unwrap();
    assert_eq!(aws.items("invocations"), before);
}
