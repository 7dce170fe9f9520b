//! A span for every call that begins something, or that belongs to its caller's trace.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use bk_plugin_core::trace_context::TraceContext;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Headers, context_of, show_ids};

/// Puts each request into its caller's trace, or begins a trace. The span's context replaces the caller's in the
/// headers, so that everything that follows from the request belongs to this span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TracedRequests;

impl<S> Layer<S> for TracedRequests {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced(inner)
    }
}

/// A service whose requests are traced.
#[derive(Debug, Clone)]
pub(crate) struct Traced<S>(S);

impl<S> Service<Request> for Traced<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(span) = span_of(&mut request) else { return Box::pin(self.0.call(request)) };
        let answering = self.0.call(request).instrument(span.clone());
        Box::pin(async move {
            let response = answering.await?;
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            if status.is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
            Ok(response)
        })
    }
}

fn span_of(request: &mut Request) -> Option<Span> {
    let caller = TraceContext::of(request.headers());
    let route = route(request.uri().path()).filter(|route| *route != "schedule" || !caller.is_empty())?;
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.route = route,
        http.response.status_code = Empty,
        otelTraceID = Empty,
        otelSpanID = Empty,
    );
    // Fails if the span is not sent at all: then it needs no parent.
    let _ = span.set_parent(context_of(&caller));
    show_ids(&span);
    TraceContextPropagator::new().inject_context(&span.context(), &mut Headers(request.headers_mut()));
    Some(span)
}

/// The part of a path that names the route, if the route is traced. The rest is left out: versions are in the
/// spans of steps, and a callback's token is a credential. `schedule` is traced only within a caller's trace,
/// because callers poll it again and again.
fn route(path: &str) -> Option<&'static str> {
    const TRACED: [&str; 7] =
        ["invoke", "callback", "schedule", "plugin_api_dispatch", "plugin_api", "openapi", "private"];
    let (_, below) = path.split_once("/bk_plugin/")?;
    let first = below.split('/').next()?;
    TRACED.into_iter().find(|traced| *traced == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_and_hold_no_token() {
        assert_eq!(route("/bk_plugin/invoke/1.0.0"), Some("invoke"));
        assert_eq!(route("/prod/bk_plugin/callback/gAAAA/"), Some("callback"));
        assert_eq!(route("/bk_plugin/plugin_api/a/b"), Some("plugin_api"));
        for untraced in ["/bk_plugin/meta", "/bk_plugin/detail/1.0.0", "/metrics", "/healthz", "/bk_plugin/x"]
        {
            assert_eq!(route(untraced), None, "{untraced}");
        }
    }
}
