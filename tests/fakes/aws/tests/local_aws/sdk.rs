//! The AWS SDK's clients: how they read answers, errors and faults.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use local_aws::Fault;

use crate::client::{World, one};

macro_rules! client {
    ($sdk:ident, $world:expr) => {{
        let http = aws_smithy_http_client::Builder::new();
        let config = $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::latest())
            .region($sdk::config::Region::new(local_aws::REGION))
            .endpoint_url($world.aws.endpoint())
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .http_client(http.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https())
            .retry_config(
                RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1)),
            );
        $sdk::Client::from_conf(config.build())
    }};
}

#[tokio::test]
async fn sqs() {
    let world = World::with_queue().await;
    let client = client!(aws_sdk_sqs, world);
    let url = world.url("q");
    let sent = client.send_message().queue_url(&url).message_body("a").send().await.unwrap();
    let names = MessageSystemAttributeName::ApproximateReceiveCount;
    let received = client.receive_message().queue_url(&url).message_system_attribute_names(names.clone());
    let message = one(received.send().await.unwrap().messages.unwrap());
    assert_eq!(message.message_id, sent.message_id);
    assert_eq!(message.body.as_deref(), Some("a"));
    assert_eq!(message.attributes.unwrap()[&names], "1");
    let handle = message.receipt_handle.unwrap();
    client.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    assert!(world.aws.messages("q").is_empty());

    let missing = client.send_message().queue_url(world.url("no")).message_body("a").send().await;
    assert!(missing.unwrap_err().into_service_error().is_queue_does_not_exist());
    let invalid = client.delete_message().queue_url(&url).receipt_handle("x").send().await;
    assert!(invalid.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
}

#[tokio::test]
async fn dynamodb() {
    let world = World::open().await;
    world.aws.create_table("invocations");
    let client = client!(aws_sdk_dynamodb, world);
    let put = || {
        let put =
            client.put_item().table_name("invocations").item("trace_id", AttributeValue::S("a".to_owned()));
        put.condition_expression("attribute_not_exists(trace_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    };
    put().send().await.unwrap();
    let refused = put().send().await.unwrap_err().into_service_error();
    assert!(refused.is_conditional_check_failed_exception());
    let get = client.get_item().table_name("invocations").key("trace_id", AttributeValue::S("a".to_owned()));
    assert!(get.send().await.unwrap().item.is_some());
    let requests = world.aws.requests();
    assert_eq!((requests["DynamoDB.PutItem"], requests["DynamoDB.GetItem"]), (2, 1));
}

/// A store's test can thus see whether the store tries again, and which operations it makes twice.
#[tokio::test]
async fn every_fault_is_tried_again() {
    let world = World::with_queue().await;
    world.aws.create_table("invocations");
    let (sqs, dynamodb) = (client!(aws_sdk_sqs, world), client!(aws_sdk_dynamodb, world));
    let hang = Fault::Hang(Duration::from_mins(1));
    for fault in [Fault::Throttled, Fault::InternalError, Fault::Unavailable, Fault::AnswerLost, hang] {
        world.aws.fail_next("SQS", fault, 1);
        world.aws.fail_next("DynamoDB", fault, 1);
        world.aws.take_requests();
        let patience = || {
            let attempt = Duration::from_millis(300);
            aws_sdk_sqs::config::timeout::TimeoutConfig::builder().operation_attempt_timeout(attempt).build()
        };
        let send = sqs.send_message().queue_url(world.url("q")).message_body("a").customize();
        let send = send.config_override(aws_sdk_sqs::Config::builder().timeout_config(patience()));
        send.send().await.unwrap();
        let put =
            dynamodb.put_item().table_name("invocations").item("trace_id", AttributeValue::S("a".to_owned()));
        let put = put.customize();
        let put = put.config_override(aws_sdk_dynamodb::Config::builder().timeout_config(patience()));
        put.send().await.unwrap();
        let requests = world.aws.requests();
        assert_eq!((requests["SQS.SendMessage"], requests["DynamoDB.PutItem"]), (2, 2), "{fault:?}");
    }
    assert_eq!(world.aws.messages("q").len(), 6, "the message whose answer was lost is there twice");
}
