//! The engine: runs an invocation from `invoke` to its end, one step at a time.
//!
//! With nothing but a table of conditional updates and an at-least-once queue it keeps five promises: no lost
//! wake-up, one committed result a step, no lost callback, nothing hangs, finished is final. The order of effects in
//! `wake_up` makes them hold: claim -> execute -> send -> commit -> delete. A crash between any two leaves either the
//! wake-up that was being handled or the one that was sent.
//!
//! It contains no I/O: everything outside is behind [`Table`], [`Queue`], [`Clock`] and [`FinishCallbackClient`].

mod alone;
mod call_context;
mod callback;
mod dead_letter;
mod finish;
mod gate;
mod invoke;
mod limits;
mod phase;
mod pitfalls;
mod requeue;
mod retry;
mod spans;
mod step;
mod take_over;
#[cfg(test)]
mod tests;
mod time_budget;
mod under_way;
mod unreadable;
mod wake_up;

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Message, Queue, WakeUp};
use bk_plugin_core::record::Record;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Table;
use bk_plugin_core::trace_context::LinkSpan;
use bk_plugin_kit::runtime::Registry;
use tracing::Instrument as _;

use crate::author_threads::AuthorThreads;
use crate::callback_token::{CallbackKeys, CallbackUrls};
use gate::Gate;

#[cfg(test)]
use alone::COUNTED_BESIDE;
pub(crate) use alone::TRIES;
use under_way::UnderWay;

pub use call_context::CallContext;
pub use callback::CallbackError;
pub use finish::{FinishCallbackClient, PostError};
pub use gate::Entered;
pub use invoke::{Call, Invoked};
pub use limits::Limits;
pub use take_over::TakeOver;
pub use time_budget::TimeBudget;

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

/// Runs invocations. One lives as long as its process; [`Engine::for_call`] puts it to work on a request or message.
pub struct Engine {
    parts: EngineParts,
    urls: Arc<CallbackUrls>,
    link_span: Option<LinkSpan>,
    counts_running: bool,
    gate: Gate,
    /// `None`: steps run where they are awaited.
    author_threads: Option<Arc<AuthorThreads>>,
    under_way: Arc<UnderWay>,
}

/// The engine at work on one request or message.
pub struct EngineCall<'a> {
    engine: &'a Engine,
    context: CallContext,
}

/// What the receiver must do with a message that was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// Delete it.
    Delete,
    /// Leave it to be delivered again after its visibility time-out.
    Leave,
}

impl Engine {
    /// An engine made of `parts`. It runs steps in place: in a test, where time is virtual and the order of all events
    /// must be the same each time.
    pub fn new(parts: EngineParts) -> Self {
        let urls = CallbackUrls::new(Arc::clone(&parts.keys), Arc::clone(&parts.clock), &parts.callback_base);
        Self {
            parts,
            urls: Arc::new(urls),
            link_span: None,
            counts_running: true,
            author_threads: None,
            under_way: Arc::default(),
            gate: Gate::default(),
        }
    }

    /// The same engine in a process that exports traces: `link` puts each step's span into its invocation's trace.
    #[must_use]
    pub fn with_span_linker(self, link: LinkSpan) -> Self {
        Self { link_span: Some(link), ..self }
    }

    /// The same engine, without the metrics of how many steps are running.
    #[must_use]
    pub fn without_running_steps(self) -> Self {
        Self { counts_running: false, ..self }
    }

    /// The same engine in a process that others depend on: steps run on `threads`.
    #[must_use]
    pub fn with_author_threads(self, threads: Arc<AuthorThreads>) -> Self {
        Self { author_threads: Some(threads), ..self }
    }

    /// The threads of the authors' code, if steps do not run in place.
    pub fn author_threads(&self) -> Option<&Arc<AuthorThreads>> {
        self.author_threads.as_ref()
    }

    /// This engine at work on one request or message.
    pub fn for_call(&self, context: CallContext) -> EngineCall<'_> {
        EngineCall { engine: self, context }
    }

    /// The versions it runs.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.parts.registry
    }

    /// The time it goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// Begins author code other than a step, such as a route of the author's: hold what is returned until it has ended.
    /// Waits while a step runs alone.
    pub async fn enter(&self) -> Entered {
        self.gate.enter().await
    }

    /// Whether no author code is under way.
    pub fn is_idle(&self) -> bool {
        self.gate.is_idle()
    }

    /// The longest time between the receipt of a wake-up and the end of its step, results included.
    pub(crate) fn longest_step(&self) -> Duration {
        self.parts.limits.lease()
    }

    /// Whether the table answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.parts.table.ping().await
    }
}

impl EngineCall<'_> {
    /// Handles one delivery of a message that was received `receive_count` times, this one included. Never
    /// fails: what cannot be done now stays in the queue.
    pub async fn handle(mut self, message: &Message, receive_count: u32) -> Handled {
        let crashes = self.crashes(message, receive_count);
        // Copies that go back into the queue carry the crash count.
        let message = message.with_crashes(crashes);
        if matches!(message, Message::Finish(_)) && crashes >= self.limits().max_receive_count {
            return self.dead_letter(&message).await;
        }
        self.context.enter_message(message.trace());
        let span = self.log_span(message.trace_id());
        let handled = async {
            let handled = match &message {
                Message::WakeUp(wake_up) => self.wake_up(wake_up).await,
                Message::Finish(finish) => self.finish(finish).await,
                Message::Unreadable(unreadable) => self.unreadable(unreadable).await,
            };
            match handled {
                Ok(handled) => handled,
                Err(error) => self.requeue_after_outage(&message, &error).await,
            }
        };
        handled.instrument(span).await
    }

    /// The record of an invocation; `None` if there is no such invocation (one that ended in its first step
    /// has no record, as in the reference).
    pub async fn schedule(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let record = self.retry_until(self.retry_deadline(), || self.table().read(trace_id)).await?;
        Ok(record.filter(|record| !record.is_stub()))
    }

    /// Sends a wake-up to be received when it is due, or after the queue's longest delay if it is due later.
    async fn send_wake_up(&self, wake_up: WakeUp, until: Timestamp) -> Result<(), StoreError> {
        let delay = wake_up.due_at.since(self.clock().now()).min(self.queue().longest_delay());
        let message = Message::WakeUp(WakeUp { trace: self.context.trace.clone(), ..wake_up });
        self.retry_until(until, || self.queue().send(&message, delay)).await
    }

    /// How often the message's step crashed its process. A step that this process still runs has not crashed it: the
    /// message was received again for another reason.
    fn crashes(&self, message: &Message, receive_count: u32) -> u32 {
        let is_running = self.engine.under_way.contains(message.trace_id());
        message.crashes(if is_running { 1 } else { receive_count })
    }

    fn table(&self) -> &dyn Table {
        &*self.engine.parts.table
    }

    fn queue(&self) -> &dyn Queue {
        &*self.engine.parts.queue
    }

    fn clock(&self) -> &dyn Clock {
        &*self.engine.parts.clock
    }

    fn gate(&self) -> &Gate {
        &self.engine.gate
    }

    fn limits(&self) -> &Limits {
        &self.engine.parts.limits
    }
}
