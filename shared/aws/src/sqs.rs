//! The delayed queue on SQS.
//!
//! SQS delays a message by at most 15 minutes; the engine makes longer waits of hops. This module checks the limits of SQS
//! itself, because emulators are more lenient.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::operation::delete_message::DeleteMessageError;
use aws_sdk_sqs::types::{
    Message as Received, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue,
};
use bk_plugin_core::queue::{Delivery, Message, Queue, Receive};
use bk_plugin_core::store_error::StoreError;

use crate::unavailable::unavailable;

/// The longest delay of a message.
pub const LONGEST_DELAY: Duration = Duration::from_mins(15);
/// Bytes a message may have.
pub const LARGEST_MESSAGE: usize = 1024 * 1024;
/// Messages that one call receives.
const LARGEST_BATCH: usize = 10;
/// The longest wait for messages in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The delayed queue, in a standard queue of SQS.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
    longest_delay: Duration,
}

impl SqsQueue {
    /// The queue at this URL. It delays no message for longer than `longest_delay`, or than SQS allows.
    pub fn new(client: Client, url: impl Into<String>, longest_delay: Duration) -> Self {
        Self { client, url: url.into(), longest_delay: longest_delay.min(LONGEST_DELAY) }
    }
}

/// A delay in whole seconds, as SQS wants it, rounded up: a wake-up that comes before it is due has to be sent again.
fn seconds(delay: Duration) -> i32 {
    let whole = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let body = message.to_body()?;
        if body.len() > LARGEST_MESSAGE {
            return Err(StoreError::TooLarge { size: body.len(), limit: LARGEST_MESSAGE });
        }
        // A delay beyond the limit of SQS is cut, not refused: the engine forwards a wake-up that comes early.
        let delay = seconds(delay.min(self.longest_delay));
        let mut request =
            self.client.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay);
        // It makes a standard queue a fair one: SQS prefers groups that have little under way.
        request = request.set_message_group_id(message.group().map(|group| group.as_str().to_owned()));
        if let Some(trace) = message.trace().xray.as_deref().filter(|trace| is_trace_header(trace)) {
            let header = MessageSystemAttributeValue::builder().data_type("String").string_value(trace);
            let header = header.build().map_err(|error| StoreError::Unavailable(error.into()))?;
            request =
                request.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
        }
        request.send().await.map_err(|error| unavailable(&error))?;
        Ok(())
    }

    async fn receive_selected(&self, receive: Receive<'_>) -> Result<Vec<Delivery>, StoreError> {
        let wait = receive.wait.min(LONGEST_WAIT);
        let at_once = i32::try_from(receive.max.clamp(1, LARGEST_BATCH)).unwrap_or(1);
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(at_once)
            .wait_time_seconds(seconds(wait))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(patient_for(wait))
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(delivery).collect())
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(handle);
        match request.send().await {
            Ok(_) => Ok(()),
            // The message is gone, or was received again since.
            Err(error)
                if error.as_service_error().is_some_and(DeleteMessageError::is_receipt_handle_is_invalid) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn longest_delay(&self) -> Duration {
        self.longest_delay
    }
}

/// Time-outs of a call that waits on purpose.
fn patient_for(wait: Duration) -> Builder {
    let enough = wait + Duration::from_secs(5);
    let time_outs = TimeoutConfig::builder().operation_attempt_timeout(enough).operation_timeout(2 * enough);
    aws_sdk_sqs::Config::builder().timeout_config(time_outs.build())
}

/// Whether SQS accepts the header: `Root=1-<8 digits>-<24 digits>` and any rest. Callers can send any text.
fn is_trace_header(text: &str) -> bool {
    let root = text.split(';').next().and_then(|root| root.strip_prefix("Root=1-"));
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.is_ascii()
        && root
            .and_then(|root| root.split_once('-'))
            .is_some_and(|(time, id)| digits(time, 8) && digits(id, 24))
}

/// Leaves a message that names no invocation in the queue, which makes it a dead letter in the end.
fn delivery(received: Received) -> Option<Delivery> {
    let count = received
        .attributes
        .as_ref()
        .and_then(|of| of.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok());
    match Message::parse(received.body.as_deref().unwrap_or_default()) {
        Ok(message) => Some(Delivery {
            message,
            handle: received.receipt_handle.unwrap_or_default(),
            receive_count: count.unwrap_or(1),
        }),
        Err(error) => {
            tracing::error!(message_id = received.message_id, %error, "a message names no invocation");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_header_is_passed_on_as_one() {
        assert!(is_trace_header(
            "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"
        ));
        for other in
            ["", "x", "Root=1-67891233", "Root=1-6789123g-abcdef012345678912345678", "Self=1;Root=1-2-3"]
        {
            assert!(!is_trace_header(other), "{other}");
        }
    }

    #[test]
    fn delays_are_rounded_up() {
        for (millis, whole) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (900_000, 900)] {
            assert_eq!(seconds(Duration::from_millis(millis)), whole);
        }
    }
}
