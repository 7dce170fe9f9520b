//! The function behind the queue: runs the steps that wake-ups ask for, posts finish callbacks, and ends
//! invocations whose message has become a dead letter.
//!
//! The answer to a batch names the messages that stay in the queue (`ReportBatchItemFailures`): only those are
//! redelivered. A redelivered message may be what crashed its last runner, so it never runs beside fresh ones
//! (`SUSPECTS`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::{Delivery, Message, NotAMessage, Queue};
use bk_plugin_core::trace_context::TraceContext;
use bk_plugin_engine::suspects::{Plan, Probation, Situation, SuspectPolicy, plan};
use bk_plugin_engine::{CallContext, Engine, Handled, TimeBudget};
use futures::future::join_all;
use tracing::Instrument as _;

/// Handles the messages of the queue and of its dead-letter queue.
pub struct PollTick {
    engine: Arc<Engine>,
    queue: Arc<dyn Queue>,
    dead_letter_queue_arn: String,
    probation: Mutex<Probation>,
}

/// A message of a batch.
struct BatchMessage {
    id: String,
    delivery: Delivery,
    trace: TraceContext,
}

/// A crash takes the whole batch down, so suspects run without the rest. Normally they are put back and the rest runs;
/// after three put-backs the rest is put back and they run, because a busy queue always has others.
const SUSPECTS: SuspectPolicy = SuspectPolicy {
    // One crash is enough: the function handles nothing but this batch, so the culprit is in it.
    suspected_at: 1,
    singled_out_at: 2,
    singled_out_when_idle_at: 2,
    beside_fresh: false,
    put_backs: 3,
    back_off: BackOff { first: Duration::from_secs(2), longest: Duration::from_secs(2) },
    stagger: Duration::from_secs(2),
};

impl PollTick {
    /// A handler of the messages of `queue`. Messages from the queue with this ARN are dead letters.
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, dead_letter_queue_arn: impl Into<String>) -> Self {
        Self {
            engine,
            queue,
            dead_letter_queue_arn: dead_letter_queue_arn.into(),
            probation: Mutex::default(),
        }
    }

    /// Handles a batch until `ends_at`, when Lambda kills the function; the answer names the messages that stay in
    /// the queue.
    pub async fn handle(&self, event: SqsEvent, ends_at: Timestamp) -> SqsBatchResponse {
        let budget = TimeBudget::new(self.engine.clock().now(), ends_at);
        let (mut live, mut dead, mut stay) = (Vec::new(), Vec::new(), Vec::new());
        for record in event.records {
            let id = record.message_id.clone().unwrap_or_default();
            let is_dead = record.event_source_arn.as_deref() == Some(self.dead_letter_queue_arn.as_str());
            match BatchMessage::read(record) {
                Ok(message) if is_dead => dead.push(message),
                Ok(message) => live.push(message),
                Err(error) if is_dead => {
                    tracing::error!(message_id = id, %error, "a dead letter about no invocation is dropped");
                }
                Err(error) => {
                    tracing::error!(message_id = id, %error, "a message names no invocation");
                    stay.push(id);
                }
            }
        }
        // Nothing else is under way in a function, so a run alone holds nothing up but the rest of its batch.
        let room = self.probation().room(self.engine.clock().now());
        let situation = Situation { is_idle: true, may_hold_up: true, room };
        let Plan { fresh, suspects, alone, single_out, put_back } = plan(live, &SUSPECTS, situation);
        let put_back = put_back.into_iter().map(|(message, delay)| self.put_back(message, delay, budget));
        stay.extend(join_all(put_back).await.into_iter().flatten());
        let single_out = single_out.into_iter().map(|message| self.single_out(message, budget));
        stay.extend(join_all(single_out).await.into_iter().flatten());
        let on_probation = suspects.len();
        (0..on_probation).for_each(|_| self.probation().begin());
        let run = fresh.into_iter().chain(suspects).chain(alone).map(|message| self.run(message, budget));
        stay.extend(join_all(run).await.into_iter().flatten());
        let now = self.engine.clock().now();
        (0..on_probation).for_each(|_| self.probation().end(now));
        let ended = dead.into_iter().map(|message| self.end(message, budget));
        stay.extend(join_all(ended).await.into_iter().flatten());
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = stay.into_iter().map(failure).collect();
        response
    }

    async fn run(&self, batch_message: BatchMessage, budget: TimeBudget) -> Option<String> {
        let call = self.engine.for_call(batch_message.context(budget));
        let Delivery { message, receive_count, .. } = &batch_message.delivery;
        let handled = call.handle(message, *receive_count).instrument(batch_message.span()).await;
        batch_message.unless(handled)
    }

    async fn end(&self, batch_message: BatchMessage, budget: TimeBudget) -> Option<String> {
        let call = self.engine.for_call(batch_message.context(budget));
        let handled =
            call.dead_letter(&batch_message.delivery.message).instrument(batch_message.span()).await;
        batch_message.unless(handled)
    }

    /// Requeues a copy for after `delay` and deletes the message: if the function crashes on what it runs now, the
    /// message must not be redelivered with it.
    async fn put_back(
        &self,
        batch_message: BatchMessage,
        delay: Duration,
        budget: TimeBudget,
    ) -> Option<String> {
        let call = self.engine.for_call(batch_message.context(budget));
        let Delivery { message, receive_count, .. } = &batch_message.delivery;
        let put_back = call.set_aside(message, *receive_count, delay).await;
        self.delete_now(&batch_message, put_back).await
    }

    /// Requeues the message as one that is only run alone.
    async fn single_out(&self, batch_message: BatchMessage, budget: TimeBudget) -> Option<String> {
        let call = self.engine.for_call(batch_message.context(budget));
        let put_back = call.single_out(&batch_message.delivery).await;
        self.delete_now(&batch_message, put_back).await
    }

    async fn delete_now(&self, batch_message: &BatchMessage, put_back: Handled) -> Option<String> {
        if put_back == Handled::Delete
            && let Err(error) = self.queue.delete(&batch_message.delivery.handle).await
        {
            tracing::warn!(message_id = batch_message.id, %error, "a message that was put back comes twice");
        }
        batch_message.unless(put_back)
    }

    fn probation(&self) -> MutexGuard<'_, Probation> {
        self.probation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<Delivery> for BatchMessage {
    fn as_ref(&self) -> &Delivery {
        &self.delivery
    }
}

impl BatchMessage {
    fn read(record: SqsMessage) -> Result<Self, NotAMessage> {
        let message = Message::parse(record.body.as_deref().unwrap_or_default())?;
        let attribute = |name: &str| record.attributes.get(name);
        let receive_count = attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Ok(Self {
            // The sender of the message may not have known the trace that SQS carries.
            trace: TraceContext {
                xray: message.trace().xray.clone().or_else(|| attribute("AWSTraceHeader").cloned()),
                ..message.trace().clone()
            },
            id: record.message_id.unwrap_or_default(),
            delivery: Delivery {
                message,
                handle: record.receipt_handle.unwrap_or_default(),
                receive_count: receive_count.unwrap_or(1),
            },
        })
    }

    fn context(&self, budget: TimeBudget) -> CallContext {
        CallContext { time_budget: Some(budget), trace: self.trace.clone(), ..CallContext::default() }
    }

    fn span(&self) -> tracing::Span {
        tracing::info_span!("message", message_id = self.id, otelTraceID = self.trace.id())
    }

    /// The message's id if it stays in the queue; `None` if it is to be deleted.
    fn unless(&self, handled: Handled) -> Option<String> {
        (handled == Handled::Leave).then(|| self.id.clone())
    }
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}
