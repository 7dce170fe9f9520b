//! Faults that a test has ordered: which request fails next, and how.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;

use crate::server::{Service, error_response};

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused because of too many requests; the operation has no effect.
    Throttled,
    /// Answered with status 500; the operation has no effect.
    InternalError,
    /// Answered with status 503; the operation has no effect.
    Unavailable,
    /// The request waits for this long by the machine's clock, to test the client's time-out. A client that
    /// has not hung up by then is served.
    Hang(Duration),
    /// The operation has its effect, and the connection is cut before the answer.
    AnswerLost,
}

impl Fault {
    /// The answer of the service if this fault makes it refuse the request; otherwise `None`.
    pub(crate) fn refusal(self, service: Service) -> Option<Response> {
        let dynamodb = "com.amazonaws.dynamodb.v20120810#";
        let (status, error, query, text) = match (self, service) {
            (Self::Throttled, Service::DynamoDb) => (
                StatusCode::BAD_REQUEST,
                format!("{dynamodb}ProvisionedThroughputExceededException"),
                None,
                "The level of configured provisioned throughput for the table was exceeded.",
            ),
            (Self::Throttled, Service::Sqs) => (
                StatusCode::BAD_REQUEST,
                "com.amazonaws.sqs#RequestThrottled".to_owned(),
                Some("RequestThrottled;Sender"),
                "Rate exceeded",
            ),
            (Self::InternalError, Service::DynamoDb) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{dynamodb}InternalServerError"),
                None,
                "Internal server error",
            ),
            (Self::InternalError, Service::Sqs) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "com.amazon.coral.service#InternalFailure".to_owned(),
                Some("InternalFailure;Receiver"),
                "We encountered an internal error. Please try again.",
            ),
            (Self::Unavailable, _) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "com.amazon.coral.availability#ServiceUnavailableException".to_owned(),
                (service == Service::Sqs).then_some("ServiceUnavailable;Receiver"),
                "Service is unable to handle request.",
            ),
            (Self::Hang(_) | Self::AnswerLost, _) => return None,
        };
        Some(error_response(status, &error, query, text))
    }
}

/// The faults that have not been made yet, oldest first.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Planned>>);

struct Planned {
    operation: String,
    fault: Fault,
    times: usize,
}

impl Faults {
    pub(crate) fn plan(&self, operation: &str, fault: Fault, times: usize) {
        self.lock().push(Planned { operation: operation.to_owned(), fault, times });
    }

    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// Takes the fault for a request of `operation`, if one is ordered.
    pub(crate) fn take(&self, operation: &str) -> Option<Fault> {
        let service = operation.split('.').next();
        let mut faults = self.lock();
        faults.retain(|planned| planned.times > 0);
        let planned = faults
            .iter_mut()
            .find(|planned| planned.operation == operation || Some(planned.operation.as_str()) == service)?;
        planned.times -= 1;
        Some(planned.fault)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
