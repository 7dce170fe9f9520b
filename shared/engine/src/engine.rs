//! The engine: runs an invocation from `invoke` to its end, one step at a time.
//!
//! It keeps five promises, with a table of conditional updates and an at-least-once queue and nothing else:
//! no lost wake-up, one committed result a step, no lost callback, nothing hangs, finished is final. The rule
//! that makes them hold is the order of effects in `wake_up`: claim -> execute -> send -> commit -> delete. A
//! crash between any two leaves either the wake-up that was being handled or the one that was sent.
//!
//! It contains no I/O: everything outside is behind [`Table`], [`Queue`], [`Clock`] and [`FinishCallbackClient`].

mod call_context;
mod callback;
mod dead_letter;
mod finish;
mod invoke;
mod step;
mod take_over;
#[cfg(test)]
mod tests;
mod wake_up;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Message, Queue, WakeUp};
use bk_plugin_core::record::Record;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Table;
use bk_plugin_core::trace_context::PlaceSpan;
use bk_plugin_kit::runtime::Registry;
use tracing::Instrument as _;

use crate::callback_token::{CallbackKeys, CallbackUrls};

pub use call_context::{CallContext, TimeBudget};
pub use callback::CallbackError;
pub use finish::{FinishCallbackClient, PostError};
pub use invoke::{Call, Invoked, UnknownVersion};
pub use take_over::TakeOver;

/// Times and numbers the engine keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A step that takes longer ends in FAIL.
    pub step_time_limit: Duration,
    /// How long a store that does not answer is asked again before the caller is told.
    pub store_patience: Duration,
    /// A wake-up that was received more often than this without coming to its end is a dead letter.
    pub max_receive_count: u32,
    /// Posts of a finish callback before it is given up.
    pub finish_callback_attempts: u32,
    /// How long a finished record is kept (SCHEDULE_PERSISTENT_DAYS).
    pub keep_finished: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step_time_limit: Duration::from_mins(1),
            store_patience: Duration::from_secs(20),
            max_receive_count: 5,
            finish_callback_attempts: 12,
            keep_finished: Duration::from_hours(30 * 24),
        }
    }
}

impl Limits {
    /// What the clocks of two runners may differ by.
    const SKEW: Duration = Duration::from_secs(5);

    /// How long a runner holds a step: the step, the writing of its result, and a little.
    pub fn lease(&self) -> Duration {
        self.step_time_limit + self.store_patience + Self::SKEW
    }

    /// How long a message must stay hidden from other receivers: longer than the lease, so that whoever gets
    /// it next can claim.
    pub fn visibility_timeout(&self) -> Duration {
        self.lease() + 2 * Self::SKEW
    }

    /// How long a call of a store may be under way before it is made, if it is made at all.
    const IN_FLIGHT: Duration = Duration::from_mins(1);

    /// How long a wake-up may wait for the record it was sent for: whoever sent it writes by then or never,
    /// since no call is begun when the lease is over.
    fn put_back_limit(&self) -> Duration {
        self.lease() + Self::IN_FLIGHT + 2 * Self::SKEW
    }

    /// How long a stub is kept: longer than any first step it may be waiting for.
    fn keep_stub(&self) -> Duration {
        self.put_back_limit() * 2 + Duration::from_hours(1)
    }
}

/// What an engine works with.
pub struct EngineParts {
    /// The versions.
    pub registry: Arc<Registry>,
    /// The invocation table.
    pub table: Arc<dyn Table>,
    /// The delayed queue.
    pub queue: Arc<dyn Queue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Posts finish callbacks.
    pub finish_callbacks: Arc<dyn FinishCallbackClient>,
    /// Mints and opens callback tokens.
    pub keys: Arc<CallbackKeys>,
    /// Everything before `/callback/<token>/` in the URLs that are handed out.
    pub callback_base: String,
    /// Times and numbers.
    pub limits: Limits,
}

/// Runs invocations. A clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    registry: Arc<Registry>,
    table: Arc<dyn Table>,
    queue: Arc<dyn Queue>,
    clock: Arc<dyn Clock>,
    finish_callbacks: Arc<dyn FinishCallbackClient>,
    keys: Arc<CallbackKeys>,
    urls: Arc<CallbackUrls>,
    limits: Limits,
    place_span: Option<PlaceSpan>,
    occasion: CallContext,
}

/// What is to be done with a message that was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// Delete it.
    Delete,
    /// Leave it to be delivered again after its visibility time-out.
    Leave,
}

impl Engine {
    /// An engine made of `parts`.
    pub fn new(parts: EngineParts) -> Self {
        let urls = CallbackUrls::new(Arc::clone(&parts.keys), Arc::clone(&parts.clock), &parts.callback_base);
        Self {
            registry: parts.registry,
            table: parts.table,
            queue: parts.queue,
            clock: parts.clock,
            finish_callbacks: parts.finish_callbacks,
            keys: parts.keys,
            urls: Arc::new(urls),
            limits: parts.limits,
            place_span: None,
            occasion: CallContext::default(),
        }
    }

    /// The same engine, for whoever sends traces somewhere: each step's span is put into its invocation's trace.
    #[must_use]
    pub fn placing_spans(self, place: PlaceSpan) -> Self {
        Self { place_span: Some(place), ..self }
    }

    /// The versions it runs.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The time it goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Handles one delivery of a message that was received `receive_count` times, this one included. Never
    /// fails: whatever could not be done now is left in the queue.
    pub async fn handle(&self, message: &Message, receive_count: u32) -> Handled {
        let crashes = message.crashes(receive_count);
        // What goes back into the queue as a copy takes the count of crashes along.
        let message = message.with_crashes(crashes);
        if crashes >= self.limits.max_receive_count {
            return self.dead_letter(&message).await;
        }
        let engine = self.in_trace_of(&message);
        let handled = async {
            let handled = match &message {
                Message::WakeUp(wake_up) => engine.wake_up(wake_up).await,
                Message::Finish(finish) => engine.finish(finish).await,
            };
            match handled {
                Ok(handled) => handled,
                Err(error) => engine.weather(&message, &error).await,
            }
        };
        handled.instrument(engine.log_span(message.trace_id())).await
    }

    /// What a message leads to belongs to the trace of the message.
    fn in_trace_of(&self, message: &Message) -> Cow<'_, Self> {
        if message.trace().is_empty() {
            return Cow::Borrowed(self);
        }
        let trace = message.trace().clone();
        Cow::Owned(self.on(CallContext { trace, cause: None, end: self.occasion.end }))
    }

    /// The record of an invocation; `None` if there is no such invocation (one that ended in its first step
    /// has no record, as in the reference).
    pub async fn schedule(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let record = self.patiently(self.patience(), || self.table.read(trace_id)).await?;
        Ok(record.filter(|record| !record.is_stub()))
    }

    /// Whether the table answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.table.ping().await
    }

    /// A store is away: nothing ends for that. The message goes back as a copy; if the queue is away too, it
    /// stays where it is.
    async fn weather(&self, message: &Message, error: &StoreError) -> Handled {
        if let StoreError::Unreadable { .. } = error {
            tracing::error!(trace_id = %message.trace_id(), %error, "record cannot be read, tried again later");
        } else {
            tracing::warn!(trace_id = %message.trace_id(), %error, "message put back");
        }
        let delay = match message {
            Message::WakeUp(wake_up) => Self::WEATHER.delay(wake_up.put_backs),
            Message::Finish(_) => Self::WEATHER.longest,
        };
        self.set_aside(message, 1, delay).await
    }

    const WEATHER: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
    const RETRY: BackOff = BackOff { first: Duration::from_millis(20), longest: Duration::from_secs(2) };

    /// Asks a store again, with back-off, until it answers or `until` has passed. After that nothing is asked
    /// at all: a process that stood still meanwhile must not write what nobody waits for any more, as the
    /// wake-up that it sent for it may be gone.
    async fn patiently<T, F, Fut>(&self, until: Timestamp, mut ask: F) -> Result<T, StoreError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        for attempt in 0.. {
            if self.clock.now() >= until {
                return Err(StoreError::Unavailable("the time for asking it was over".into()));
            }
            match ask().await {
                Err(StoreError::Unavailable(error)) => {
                    let delay = Self::RETRY.delay(attempt);
                    if self.clock.now() + delay >= until {
                        return Err(StoreError::Unavailable(error));
                    }
                    tracing::warn!(%error, attempt, "the store is asked again");
                    self.clock.sleep(delay).await;
                }
                answer => return answer,
            }
        }
        unreachable!("the loop ends only by returning")
    }

    /// Sends a wake-up for when it is due, or as far as the queue's longest delay reaches.
    async fn send_wake_up(&self, wake_up: WakeUp, until: Timestamp) -> Result<(), StoreError> {
        let delay = wake_up.due_at.since(self.clock.now()).min(self.queue.longest_delay());
        let wake_up = WakeUp { trace: self.occasion.trace.clone(), ..wake_up };
        let message = Message::WakeUp(wake_up);
        self.patiently(until, || self.queue.send(&message, delay)).await
    }
}
