//! The endpoint: parses the requests of both services, counts them, and makes the ordered faults.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::dynamodb::DynamoDb;
use crate::faults::{Fault, Faults};
use crate::sqs::Sqs;

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
/// The largest body of a request to DynamoDB, in bytes; SQS's limit is smaller.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    DynamoDb,
    Sqs,
}

/// The service and the name of the operation that a client asks for.
struct Operation {
    service: Service,
    name: String,
}

impl Operation {
    /// Reads the operation from the header X-Amz-Target.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let target = headers.get("x-amz-target")?.to_str().ok()?;
        let (service, name) = target.split_once('.')?;
        let service = match service {
            "DynamoDB_20120810" => Service::DynamoDb,
            "AmazonSQS" => Service::Sqs,
            _ => return None,
        };
        Some(Self { service, name: name.to_owned() })
    }

    /// The name under which the operation is counted.
    fn full_name(&self) -> String {
        let service = match self.service {
            Service::DynamoDb => "DynamoDB",
            Service::Sqs => "SQS",
        };
        format!("{service}.{}", self.name)
    }
}

pub(crate) struct Server {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) sqs: Arc<Sqs>,
    pub(crate) faults: Faults,
    requests: Mutex<BTreeMap<String, usize>>,
}

impl Server {
    pub(crate) fn new(dynamodb: DynamoDb, sqs: Sqs) -> Self {
        Self { dynamodb, sqs: Arc::new(sqs), faults: Faults::default(), requests: Mutex::default() }
    }

    pub(crate) fn requests(&self) -> BTreeMap<String, usize> {
        self.counts().clone()
    }

    pub(crate) fn take_requests(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.counts())
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, operation: &Operation, headers: &HeaderMap, body: Bytes) -> Response {
        match operation.service {
            Service::DynamoDb => self.dynamodb.answer(headers, body).await,
            Service::Sqs => match self.sqs.answer(&operation.name, &body).await {
                Ok(answer) => ([(header::CONTENT_TYPE, JSON)], answer.to_string()).into_response(),
                Err(error) => error.into_response(),
            },
        }
    }
}

pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>) {
    // A small answer must not wait for the acknowledgement of the previous one.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    let router = Router::new().fallback(answer).with_state(server);
    axum::serve(listener, router).await.unwrap();
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(operation) = Operation::of(&head.headers) else {
        return error_response(
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.service#UnknownOperationException",
            None,
            "There is no such operation.",
        );
    };
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let name = operation.full_name();
    *server.counts().entry(name.clone()).or_default() += 1;
    let fault = server.faults.take(&name);
    if let Some(refusal) = fault.and_then(|fault| fault.refusal(operation.service)) {
        return refusal;
    }
    if let Some(Fault::Hang(time)) = fault {
        tokio::time::sleep(time).await;
    }
    let response = server.run(&operation, &head.headers, body).await;
    if fault == Some(Fault::AnswerLost) { cut() } else { response }
}

/// A response that the server cannot send, whereupon it closes the connection.
fn cut() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(io::Error::other("the connection is cut")) });
    Response::new(Body::from_stream(broken))
}

/// An error in the JSON protocol. `query` has the code and the party at fault, for clients that read the
/// older query protocol.
pub(crate) fn error_response(status: StatusCode, error: &str, query: Option<&str>, text: &str) -> Response {
    let body = json!({"__type": error, "message": text}).to_string();
    let mut response = (status, [(header::CONTENT_TYPE, JSON)], body).into_response();
    if let Some(query) = query {
        let query = HeaderValue::from_str(query).unwrap();
        response.headers_mut().insert("x-amzn-query-error", query);
    }
    response
}
