//! SQS's errors, with its own messages.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::server::error_response;

/// A kind of error: its name in the JSON protocol, and its code in the older query protocol, which clients
/// still read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    json: &'static str,
    query: &'static str,
}

impl Kind {
    const fn new(json: &'static str, query: &'static str) -> Self {
        Self { json, query }
    }
}

pub(crate) const BATCH_ENTRY_IDS_NOT_DISTINCT: Kind = Kind::new(
    "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
    "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
);
pub(crate) const BATCH_REQUEST_TOO_LONG: Kind =
    Kind::new("com.amazonaws.sqs#BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong");
pub(crate) const EMPTY_BATCH_REQUEST: Kind =
    Kind::new("com.amazonaws.sqs#EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest");
pub(crate) const INVALID_ATTRIBUTE_NAME: Kind =
    Kind::new("com.amazonaws.sqs#InvalidAttributeName", "InvalidAttributeName");
pub(crate) const INVALID_ATTRIBUTE_VALUE: Kind =
    Kind::new("com.amazonaws.sqs#InvalidAttributeValue", "InvalidAttributeValue");
pub(crate) const INVALID_BATCH_ENTRY_ID: Kind =
    Kind::new("com.amazonaws.sqs#InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId");
pub(crate) const INVALID_MESSAGE_CONTENTS: Kind =
    Kind::new("com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents");
pub(crate) const INVALID_PARAMETER_VALUE: Kind =
    Kind::new("com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue");
pub(crate) const MESSAGE_NOT_INFLIGHT: Kind =
    Kind::new("com.amazonaws.sqs#MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight");
pub(crate) const MISSING_PARAMETER: Kind =
    Kind::new("com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter");
pub(crate) const PURGE_QUEUE_IN_PROGRESS: Kind =
    Kind::new("com.amazonaws.sqs#PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress");
pub(crate) const QUEUE_DOES_NOT_EXIST: Kind =
    Kind::new("com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue");
pub(crate) const QUEUE_NAME_EXISTS: Kind =
    Kind::new("com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists");
pub(crate) const RECEIPT_HANDLE_IS_INVALID: Kind =
    Kind::new("com.amazonaws.sqs#ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid");
pub(crate) const SERIALIZATION: Kind =
    Kind::new("com.amazon.coral.service#SerializationException", "MalformedInput");
pub(crate) const TOO_MANY_ENTRIES: Kind = Kind::new(
    "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
    "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
);
pub(crate) const UNKNOWN_OPERATION: Kind =
    Kind::new("com.amazon.coral.service#UnknownOperationException", "InvalidAction");

/// The error of a refused request, or of a refused entry of a batch. All of them are the client's fault.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    kind: Kind,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new(MISSING_PARAMETER, format!("The request must contain the parameter {parameter}."))
    }

    pub(crate) fn invalid(value: impl std::fmt::Display, parameter: &str, reason: &str) -> Self {
        let text = format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}");
        Self::new(INVALID_PARAMETER_VALUE, text)
    }

    /// The code in the form used for an entry of a batch.
    pub(crate) fn code(&self) -> &'static str {
        self.kind.query
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let query = format!("{};Sender", self.kind.query);
        error_response(StatusCode::BAD_REQUEST, self.kind.json, Some(&query), &self.text)
    }
}
