//! The function behind the queue: runs the steps that wake-ups ask for, posts finish callbacks, and ends what
//! has become a dead letter.
//!
//! A batch is answered with the messages that are to stay (`ReportBatchItemFailures`): only those come again.
//! Messages that were received before may be what their last runner died of, so none of them is run beside others: it
//! is put back, or if it was put back often enough, the others are. Of those that are among themselves one is run.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use bk_plugin_aws::sqs::{UnreadableMessage, parse};
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::{Message, Queue};
use bk_plugin_core::trace_context::TraceContext;
use bk_plugin_engine::{CallContext, Engine, Handled, TimeBudget};
use futures::future::join_all;
use tracing::Instrument as _;

/// Handles the messages of the queue and of its dead-letter queue.
pub struct PollTick {
    engine: Arc<Engine>,
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
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, dead_letter_queue_arn: impl Into<String>) -> Self {
        Self { engine, queue, dead_letter_queue_arn: dead_letter_queue_arn.into() }
    }

    /// Handles a batch until `ends_at`, when the function is killed, and says which messages are to stay.
    pub async fn handle(&self, event: SqsEvent, ends_at: Timestamp) -> SqsBatchResponse {
        let budget = TimeBudget::new(self.engine.clock().now(), ends_at);
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
                    if self.unreadable_dead_letter(&id, &unreadable, budget).await == Handled::Leave {
                        stay.push(id);
                    }
                }
                Err(unreadable) => {
                    tracing::error!(message_id = id, error = %unreadable, "a message cannot be read");
                    stay.push(id);
                }
            }
        }
        suspects.sort_by_key(|suspect| suspect.message.put_backs());
        let has_waited = suspects.last().is_some_and(|suspect| suspect.message.put_backs() >= OFTEN_ENOUGH);
        let alone = if fresh.is_empty() || has_waited { suspects.pop() } else { None };
        let (run, others) = match alone {
            Some(suspect) => (vec![suspect], fresh),
            None => (fresh, Vec::new()),
        };
        // Put back first: whoever runs the rest may not come to it.
        let apart =
            suspects.into_iter().zip(1..).map(|(letter, number)| self.put_back(letter, number, budget));
        let others = others.into_iter().map(|letter| self.put_back(letter, 1, budget));
        stay.extend(join_all(apart).await.into_iter().chain(join_all(others).await).flatten());
        let run = run.into_iter().map(|letter| self.run(letter, budget));
        stay.extend(join_all(run).await.into_iter().flatten());
        let ended = dead.into_iter().map(|letter| self.end(letter, budget));
        stay.extend(join_all(ended).await.into_iter().flatten());
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = stay.into_iter().map(failure).collect();
        response
    }

    async fn run(&self, letter: Letter, budget: TimeBudget) -> Option<String> {
        let engine = self.engine.for_call(letter.context(budget));
        let handled = engine.handle(&letter.message, letter.receive_count).instrument(letter.span()).await;
        letter.unless(handled)
    }

    async fn end(&self, letter: Letter, budget: TimeBudget) -> Option<String> {
        let engine = self.engine.for_call(letter.context(budget));
        letter.unless(engine.dead_letter(&letter.message).instrument(letter.span()).await)
    }

    /// Puts a message back, apart from others by its number, and deletes it: it is not to be received once more with
    /// what is run now, should that kill the function.
    async fn put_back(&self, letter: Letter, number: u32, budget: TimeBudget) -> Option<String> {
        let engine = self.engine.for_call(letter.context(budget));
        let put_back = engine.set_aside(&letter.message, letter.receive_count, APART * number).await;
        if put_back == Handled::Delete
            && let Err(error) = self.queue.delete(&letter.handle).await
        {
            tracing::warn!(message_id = letter.id, %error, "a message that was put back comes twice");
        }
        letter.unless(put_back)
    }

    async fn unreadable_dead_letter(
        &self,
        id: &str,
        unreadable: &UnreadableMessage,
        budget: TimeBudget,
    ) -> Handled {
        let Some(trace_id) = &unreadable.trace_id else {
            tracing::error!(message_id = id, error = %unreadable, "a dead letter about no invocation is dropped");
            return Handled::Delete;
        };
        let context = CallContext { time_budget: Some(budget), ..CallContext::default() };
        self.engine.for_call(context).unreadable_dead_letter(trace_id, &unreadable.problem).await
    }
}

/// What messages that are put back are kept apart by.
const APART: Duration = Duration::from_secs(2);

/// A suspect that was put back so often has the others put back instead: a busy queue is never without others.
const OFTEN_ENOUGH: u32 = 3;

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

    fn context(&self, budget: TimeBudget) -> CallContext {
        CallContext { time_budget: Some(budget), trace: self.trace.clone(), cause: None }
    }

    fn span(&self) -> tracing::Span {
        tracing::info_span!("message", message_id = self.id, otelTraceID = self.trace.id())
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
