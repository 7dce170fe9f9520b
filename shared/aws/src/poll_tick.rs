//! The function behind the queue: runs the steps that wake-ups ask for, posts finish callbacks, and ends what
//! has become a dead letter.
//!
//! A batch is answered with the messages that are to stay (`ReportBatchItemFailures`): only those come again.
//! Messages that were received before may be what their last runner died of, so they are kept apart: the
//! others of the batch come to their end first, then one of them is run, and the rest is put back.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::engine::{Engine, Handled, Occasion};
use bk_plugin_kit::queue::{Message, Queue};
use bk_plugin_kit::trace_context::TraceContext;
use futures::future::join_all;

use crate::sqs::{UnreadableMessage, parse};

/// Handles the messages of the queue and of its dead-letter queue.
pub struct PollTick {
    engine: Engine,
    queue: Arc<dyn Queue>,
    dead_letter_queue_arn: String,
}

/// One message of a batch that could be read.
struct Letter {
    id: String,
    handle: String,
    message: Message,
    receive_count: u32,
    trace: TraceContext,
}

impl PollTick {
    /// A handler of the messages of `queue`, that takes those from the queue with this ARN for dead letters.
    pub fn new(engine: Engine, queue: Arc<dyn Queue>, dead_letter_queue_arn: impl Into<String>) -> Self {
        Self { engine, queue, dead_letter_queue_arn: dead_letter_queue_arn.into() }
    }

    /// Handles a batch until `ends_at`, when the function is killed, and says which messages are to stay.
    pub async fn handle(&self, event: SqsEvent, ends_at: Timestamp) -> SqsBatchResponse {
        let mut stay = Vec::new();
        let (mut fresh, mut suspects, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for record in event.records {
            let id = record.message_id.clone().unwrap_or_default();
            let is_dead = record.event_source_arn.as_deref() == Some(self.dead_letter_queue_arn.as_str());
            match Letter::read(record) {
                Ok(letter) if is_dead => dead.push(letter),
                Ok(letter) if letter.is_suspect() => suspects.push(letter),
                Ok(letter) => fresh.push(letter),
                Err(unreadable) if is_dead => {
                    if self.unreadable_dead_letter(&id, &unreadable).await == Handled::Leave {
                        stay.push(id);
                    }
                }
                Err(unreadable) => {
                    tracing::error!(message_id = id, error = %unreadable, "a message cannot be read");
                    stay.push(id);
                }
            }
        }
        let half = self.engine.clock().now() + ends_at.since(self.engine.clock().now()) / 2;
        stay.extend(
            join_all(fresh.into_iter().map(|letter| self.run(letter, ends_at))).await.into_iter().flatten(),
        );
        for letter in dead {
            let engine = self.engine.on(letter.occasion(ends_at));
            stay.extend(letter.unless(engine.dead_letter(&letter.message).await));
        }
        stay.extend(self.run_apart(suspects, ends_at, half).await);
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = stay.into_iter().map(failure).collect();
        response
    }

    async fn run(&self, letter: Letter, ends_at: Timestamp) -> Option<String> {
        let engine = self.engine.on(letter.occasion(ends_at));
        letter.unless(engine.handle(&letter.message, letter.receive_count).await)
    }

    /// Runs the first of the messages that may be deadly, if there is time for it, and puts the others back,
    /// so that each is alone with whoever receives it next.
    async fn run_apart(&self, suspects: Vec<Letter>, ends_at: Timestamp, half: Timestamp) -> Vec<String> {
        let mut stay = Vec::new();
        let has_time = self.engine.clock().now() < half;
        let mut suspects = suspects.into_iter();
        let first = if has_time { suspects.next() } else { None };
        // Put back first, and deleted: whoever runs the first may not come to it.
        for (number, letter) in suspects.enumerate() {
            let delay = APART * (1 + u32::try_from(number).unwrap_or(u32::MAX));
            let put_back = self.engine.set_aside(&letter.message, letter.receive_count, delay).await;
            if put_back == Handled::Delete
                && let Err(error) = self.queue.delete(&letter.handle).await
            {
                tracing::warn!(message_id = letter.id, %error, "a message that was put back comes twice");
            }
            stay.extend(letter.unless(put_back));
        }
        if let Some(first) = first {
            stay.extend(self.run(first, ends_at).await);
        }
        stay
    }

    async fn unreadable_dead_letter(&self, id: &str, unreadable: &UnreadableMessage) -> Handled {
        let Some(trace_id) = &unreadable.trace_id else {
            tracing::error!(message_id = id, error = %unreadable, "a dead letter about no invocation is dropped");
            return Handled::Delete;
        };
        self.engine.unreadable_dead_letter(trace_id, &unreadable.problem).await
    }
}

/// What messages that are put back are kept apart by.
const APART: Duration = Duration::from_secs(2);

impl Letter {
    fn read(record: SqsMessage) -> Result<Self, UnreadableMessage> {
        let message = parse(record.body.as_deref().unwrap_or_default())?;
        let attribute = |name: &str| record.attributes.get(name);
        let receive_count = attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Ok(Self {
            // Who sent the message may not have known of a trace that SQS carries.
            trace: TraceContext {
                xray: message.trace().xray.clone().or_else(|| attribute("AWSTraceHeader").cloned()),
                ..message.trace().clone()
            },
            id: record.message_id.unwrap_or_default(),
            handle: record.receipt_handle.unwrap_or_default(),
            receive_count: receive_count.unwrap_or(1),
            message,
        })
    }

    /// Whether it may be what its last runner died of. (Posting a finish callback kills nobody.)
    fn is_suspect(&self) -> bool {
        matches!(self.message, Message::WakeUp(_)) && self.message.crashes(self.receive_count) > 0
    }

    fn occasion(&self, ends_at: Timestamp) -> Occasion {
        Occasion { ends_at: Some(ends_at), trace: self.trace.clone() }
    }

    /// Its id, unless it is to be deleted.
    fn unless(&self, handled: Handled) -> Option<String> {
        (handled == Handled::Leave).then(|| self.id.clone())
    }
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}
