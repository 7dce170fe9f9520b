//! Limits of AWS that emulators do not enforce, so these tests check that our own code keeps to them.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use bk_plugin_aws::dynamodb::LARGEST_ITEM;
use bk_plugin_aws::sqs::LONGEST_DELAY;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Finish, Message, Queue as _};
use bk_plugin_core::record::{Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Table as _;
use bk_plugin_core::trace_context::TraceContext;
use wire::Emulator;

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

fn finish() -> Finish {
    Finish::first(TraceId::random())
}

/// A delay of more than 900 seconds is shortened to 900: the message comes too early, and its receiver sends
/// it on.
#[tokio::test]
async fn a_delay_is_never_longer_than_sqs_takes() {
    let emulator = Emulator::new();
    let url = emulator.queue(VISIBILITY_TIMEOUT).await;
    let queue = emulator.open(&url, Duration::from_hours(24));
    assert_eq!(queue.longest_delay(), LONGEST_DELAY);
    queue.send(&Message::Finish(finish()), Duration::from_secs(901)).await.unwrap();
    let request = emulator.sqs().get_queue_attributes().queue_url(&url);
    let attributes =
        request.attribute_names(QueueAttributeName::All).send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&QueueAttributeName::ApproximateNumberOfMessagesDelayed], "1");
}

#[tokio::test]
async fn a_message_over_the_limit_says_its_size() {
    let emulator = Emulator::new();
    let queue = emulator.open(&emulator.queue(VISIBILITY_TIMEOUT).await, LONGEST_DELAY);
    let trace = TraceContext { tracestate: Some("x".repeat(1024 * 1024)), ..TraceContext::default() };
    let trace = TraceContext { traceparent: Some("00-x".to_owned()), ..trace };
    let large = Message::Finish(Finish { trace, ..finish() });
    let error = queue.send(&large, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size, limit: 1_048_576 } if size > 1_048_576), "{error}");
}

#[tokio::test]
async fn a_batch_has_ten_messages_at_most() {
    let emulator = Emulator::new();
    let queue = emulator.open(&emulator.queue(VISIBILITY_TIMEOUT).await, LONGEST_DELAY);
    for _ in 0..12 {
        queue.send(&Message::Finish(finish()), Duration::ZERO).await.unwrap();
    }
    let received = queue.receive(500, Duration::ZERO).await.unwrap();
    assert!((1..=10).contains(&received.len()), "{}", received.len());
}

#[tokio::test]
async fn an_item_over_the_limit_says_its_size() {
    let table = Emulator::new().table().await;
    let mut record = Record::stub(TraceId::random(), Timestamp::from_millis(1_800_000_000_000));
    record.state = State::Poll;
    // Random text, so that compression does not help.
    let text: String = (0..LARGEST_ITEM / 16).map(|_| TraceId::random().to_string()).collect();
    record.inputs.insert("text".to_owned(), text.into());
    let error = table.create(&record, None).await.unwrap_err();
    assert!(
        matches!(error, StoreError::TooLarge { size, limit: LARGEST_ITEM } if size > LARGEST_ITEM),
        "{error}"
    );
    assert!(table.read(&record.trace_id).await.unwrap().is_none());
}
