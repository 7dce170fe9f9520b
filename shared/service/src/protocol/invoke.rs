//! `POST invoke/<version>`: begins an invocation.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bk_plugin_core::JsonObject;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::python_json::Parser;
use bk_plugin_core::record::State as InvocationState;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_engine::{Call, Invoked};
use bk_plugin_kit::runtime::panic_text;
use futures::FutureExt as _;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::Service;
use super::body::{MediaType, parse_json, unsupported_media_type};
use super::envelope::{Failure, WithTraceId, json};
use super::gateway::{Admitted, ScopedApp};
use super::invalid_input::InvalidInput;
use super::segment::Segment;

/// What is to be invoked. Further keys are ignored.
#[derive(Default, ToSchema)]
pub(super) struct InvokeRequest {
    /// What the plugin's user filled in.
    #[schema(value_type = Object)]
    inputs: JsonObject,
    /// What the calling system passes along.
    #[schema(value_type = Object)]
    context: JsonObject,
}

#[derive(Serialize, ToSchema)]
pub(super) struct InvokeData {
    /// What the first step put out; null if it failed.
    #[schema(value_type = Option<Object>, required = true)]
    outputs: Value,
    /// 2 POLL, 3 CALLBACK, 4 SUCCESS, 5 FAIL.
    #[schema(value_type = u8, minimum = 2, maximum = 5)]
    state: InvocationState,
    /// Why it failed; null if it did not.
    #[schema(required = true)]
    err: Option<String>,
}

/// Begins an invocation: runs its first step and says how that ended.
///
/// Inputs and context that do not validate are an invocation that failed: status 200, state 5.
#[utoipa::path(
    post,
    path = "/bk_plugin/invoke/{version}",
    tag = "plugin",
    params(("version" = String, Path, description = "A version that meta names")),
    request_body = InvokeRequest,
    responses(
        (status = 200, body = WithTraceId<InvokeData>, description = "How the first step ended"),
        (status = 400, body = Failure, description = "Not JSON, or not an object with inputs and context"),
        (status = 403, body = Failure, description = "Not through the gateway, or not from a scope of allow_scope"),
        (status = 404, body = Failure, description = "There is no such version"),
        (status = 413, body = Failure, description = "The body is too large"),
        (status = 415, body = Failure, description = "The body is neither JSON nor a form"),
        (status = 500, body = Failure, description = "The invocation could not be stored, and does not exist"),
    )
)]
pub(super) async fn invoke(
    _: Admitted<ScopedApp>,
    caller: Caller,
    State(service): State<Arc<Service>>,
    Segment(version): Segment,
    request: Request,
) -> Result<Response, Failure> {
    let registry = service.engine.registry();
    let Some(version) = registry.version(&version).cloned() else {
        return Err(Failure::unknown_version(&version, registry.versions()));
    };
    let (engine, call_context) = (Arc::clone(&service.engine), service.call_context(&request));
    let InvokeRequest { inputs, context } = read(&service, request).await?;
    let trace_id = TraceId::random();
    let id = trace_id.clone();
    let call = Call { inputs, context, caller };
    let step = async move { engine.for_call(call_context).invoke(&version, id, call).await };
    match AssertUnwindSafe(ToItsEnd::new(step, &service.steps)).catch_unwind().await {
        Ok(Ok(Invoked { state, outputs, err })) => {
            let data = InvokeData { outputs, state, err };
            Ok(json(StatusCode::OK, &WithTraceId { result: true, data, message: "success", trace_id }))
        }
        Ok(Err(error)) => Err(not_stored(&error, trace_id)),
        Err(panic) => {
            tracing::error!(%trace_id, panic = panic_text(&*panic), "invoke panicked");
            let message = "internal error: the server's log says more";
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message).with_trace_id(trace_id))
        }
    }
}

/// A step that goes on to its end even if the caller hangs up. Only then is it handed to a task.
struct ToItsEnd<F: Future<Output: Send + 'static> + Send + 'static> {
    /// `None` when it has ended.
    step: Option<Pin<Box<F>>>,
    steps: TaskTracker,
    /// Counts the step among `steps` from its beginning.
    _counted: TaskTrackerToken,
}

impl<F: Future<Output: Send + 'static> + Send + 'static> ToItsEnd<F> {
    fn new(step: F, steps: &TaskTracker) -> Self {
        Self { step: Some(Box::pin(step)), steps: steps.clone(), _counted: steps.token() }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out meanwhile: a step that panics is over.
        let Some(mut step) = self.step.take() else { return Poll::Pending };
        let polled = step.as_mut().poll(cx);
        if polled.is_pending() {
            self.step = Some(step);
        }
        polled
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        if let (Some(step), Ok(runtime)) = (self.step.take(), Handle::try_current()) {
            self.steps.spawn_on(step.in_current_span(), &runtime);
        }
    }
}

fn not_stored(error: &StoreError, trace_id: TraceId) -> Failure {
    tracing::error!(%trace_id, %error, "invocation not stored");
    let message = "the invocation could not be stored: the store is unavailable, and there is no invocation";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message).with_trace_id(trace_id)
}

async fn read(service: &Service, request: Request) -> Result<InvokeRequest, Failure> {
    let media_type = MediaType::of(request.headers());
    if matches!(media_type, MediaType::UrlEncoded | MediaType::Multipart) {
        // As in the reference, whose forms cannot hold objects: both are empty.
        service.read_body(request).await?;
        return Ok(InvokeRequest::default());
    }
    let body = service.read_body(request).await?;
    let mut keys = match media_type {
        _ if body.is_empty() => JsonObject::new(),
        MediaType::Json => InvalidInput::keys(parse_json(&body, Parser::Request)?)?,
        _ => return Err(unsupported_media_type()),
    };
    let mut invalid = InvalidInput::default();
    let inputs = invalid.object(&mut keys, "inputs");
    let context = invalid.object(&mut keys, "context");
    invalid.check()?;
    Ok(InvokeRequest { inputs: inputs.unwrap_or_default(), context: context.unwrap_or_default() })
}
