//! The finish callback: tells the calling system, at least once, that the invocation has ended.

use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Finish, Message};
use bk_plugin_core::record::{FinishCallback, Record};
use bk_plugin_core::store_error::StoreError;
use tracing::Instrument as _;

use super::{EngineCall, Handled};
use crate::metrics::Post;

/// Why a post failed. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PostError(pub String);

/// Posts finish callbacks.
#[async_trait]
pub trait FinishCallbackClient: Send + Sync {
    /// Posts `data` to `url`, for the tenant of the caller. Success is a 2xx answer whose body does not say
    /// `"result": false`.
    async fn post(&self, finish_callback: &FinishCallback, caller: &Caller) -> Result<(), PostError>;
}

/// Delays between posts.
const BACK_OFF: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_mins(10) };

/// Delays of a message that came before the commit it was sent for, which follows within a moment.
const NOT_ENDED_YET: BackOff = BackOff { first: Duration::from_millis(5), longest: Duration::from_secs(2) };

impl EngineCall<'_> {
    /// Requests the post that tells of an end. It is sent before the end is committed: a process that dies in between
    /// has left a message, and no other message has to ask for the post.
    pub(super) async fn send_finish(
        &self,
        record: &Record,
        finish_at: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let to = record.finish_callback.as_ref();
        let group = to.map(|to| MessageGroup::of_finish_callbacks_to(&to.url));
        let trace = self.context.trace.clone();
        let first = Finish::first(record.trace_id.clone());
        let message = Message::Finish(Finish { finish_at, group, trace, ..first });
        self.retry_until(until, || self.queue().send(&message, Duration::ZERO)).await
    }

    /// Posts the finish callback if it is still owed.
    pub(super) async fn finish(&mut self, finish: &Finish) -> Result<Handled, StoreError> {
        let record = self.table().read(&finish.trace_id).await?;
        let Some(record) = record.filter(|record| record.state.is_finished()) else {
            return self.finish_ahead_of_the_end(finish).await;
        };
        // A run of the last step that was not committed has left a message, too: that of the committed one is enough.
        let is_of_this_end = finish.finish_at.is_none_or(|finish_at| record.finish_at == Some(finish_at));
        let owed = record.finish_callback.as_ref().filter(|_| record.owed && is_of_this_end);
        let Some(finish_callback) = owed else { return Ok(Handled::Delete) };
        self.context.enter_invocation(&record.trace);
        let post = self.post(finish, finish_callback, &record.caller);
        match post.instrument(self.post_span(finish)).await {
            Ok(()) => self.settle(&record.trace_id).await,
            Err(_) => self.post_again(finish).await,
        }
    }

    /// Puts a message back that came before the commit it was sent for, until that commit can no longer come.
    async fn finish_ahead_of_the_end(&self, finish: &Finish) -> Result<Handled, StoreError> {
        let now = self.clock().now();
        if let Some(finish_at) = finish.finish_at
            && now < finish_at + self.limits().put_back_limit()
        {
            // The time that has passed, so that the delays double.
            let delay = now.since(finish_at).clamp(NOT_ENDED_YET.first, NOT_ENDED_YET.longest);
            self.queue().send(&Message::Finish(finish.clone()), delay).await?;
        }
        Ok(Handled::Delete)
    }

    /// Makes one post, counts it and logs how it went.
    async fn post(
        &self,
        finish: &Finish,
        finish_callback: &FinishCallback,
        caller: &Caller,
    ) -> Result<(), PostError> {
        let posted = self.engine.parts.finish_callbacks.post(finish_callback, caller).await;
        match &posted {
            Ok(()) => {
                Post::Sent.count();
                tracing::info!("finish callback sent");
            }
            Err(error) => {
                Post::Failed.count();
                tracing::Span::current().record("otel.status_code", "ERROR");
                tracing::warn!(attempt = finish.attempt, %error, "finish callback failed");
            }
        }
        posted
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<Handled, StoreError> {
        self.retry_until(self.retry_deadline(), || self.table().settle(trace_id)).await?;
        Ok(Handled::Delete)
    }

    /// Requests the next attempt of a post that failed or was never made, unless there were enough attempts.
    pub(super) async fn post_again(&self, finish: &Finish) -> Result<Handled, StoreError> {
        let attempts = finish.attempt + 1;
        if attempts >= self.limits().finish_callback_attempts {
            Post::GivenUp.count();
            let trace_id = &finish.trace_id;
            tracing::error!(%trace_id, attempts, "finish callback given up: the caller was not told");
            return self.settle(trace_id).await;
        }
        let delay = BACK_OFF.delay(finish.attempt).min(self.queue().longest_delay());
        let again = Message::Finish(Finish { attempt: attempts, ..finish.clone() });
        self.retry_until(self.retry_deadline(), || self.queue().send(&again, delay)).await?;
        Ok(Handled::Delete)
    }
}
