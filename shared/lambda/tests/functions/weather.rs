//! Throttling, time-outs and errors of the services end no invocation.

use std::time::Duration;

use local_aws::Fault;
use serde_json::json;

use crate::cloud::Cloud;

const FAULTS: [Fault; 4] = [Fault::Throttled, Fault::InternalError, Fault::Unavailable, Fault::AnswerLost];

#[tokio::test]
async fn every_fault_of_every_service_is_got_over() {
    for fault in FAULTS {
        for service in ["DynamoDB", "SQS"] {
            for times in [1, 3, 7] {
                let cloud = Cloud::new().await;
                let (trace_id, _) =
                    cloud.invoke(json!({ "path": ["poll", "poll", "callback", "end"] }), true).await;
                // The engine waits by the clock of the test between its own attempts.
                let work = async {
                    cloud.aws.fail_next(service, fault, times);
                    cloud.work().await;
                };
                let time = async {
                    loop {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        cloud.clock.advance(Duration::from_millis(250));
                    }
                };
                tokio::select! {
                    () = work => {}
                    () = time => {}
                }
                cloud.aws.heal();
                let data = cloud.schedule(&trace_id).await;
                assert_eq!(data["state"], 3, "{times} times {fault:?} of {service}: {data}");
                cloud.call_back(&data["outputs"]["url"], &json!(1)).await;
                cloud.work().await;
                let data = cloud.schedule(&trace_id).await;
                assert_eq!(data["state"], 4, "{times} times {fault:?} of {service}: {data}");
                assert_eq!(data["outputs"]["heard"], json!([1]));
                assert_eq!(cloud.posts(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_asked_again() {
    let cloud = Cloud::new().await;
    cloud.aws.fail_next("DynamoDB.UpdateItem", Fault::Hang(Duration::from_secs(30)), 1);
    let began = std::time::Instant::now();
    let (trace_id, data) = cloud.invoke(json!({ "path": ["poll", "end"] }), false).await;
    assert_eq!(data["state"], 2);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    cloud.work().await;
    assert_eq!(cloud.schedule(&trace_id).await["state"], 4);
}

/// More than an item may have, though it be compressed.
#[tokio::test]
async fn a_state_that_is_too_large_says_its_size_and_the_limit() {
    let cloud = Cloud::new().await;
    let letters: String = (0..25_000).map(|_| bk_plugin_core::ids::TraceId::random().to_string()).collect();
    let (trace_id, data) = cloud.invoke(json!({ "path": ["poll", "end"], "text": letters }), false).await;
    assert_eq!(data["state"], 5, "{trace_id}");
    let err = data["err"].as_str().unwrap();
    assert!(err.contains("the limit is 409600") && err.contains("bytes"), "{err}");
}
