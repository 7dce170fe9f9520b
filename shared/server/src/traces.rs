//! Traces, sent over OTLP: one per invocation, with a span for the call and one for every step.
//!
//! The framework carries an invocation's trace from step to step as the headers of W3C Trace Context
//! ([`TraceContext`]); this module turns them into OpenTelemetry's contexts and sends spans.

mod request;
mod settings;
mod throttled_errors;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bk_plugin_core::trace_context::{LOG_SPAN, TraceContext};
use bk_plugin_service::tls::{self, Authorities};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use secrecy::ExposeSecret as _;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use self::throttled_errors::ThrottledErrors;

pub(crate) use request::TracedRequests;
pub use settings::TraceSettings;

/// Sends spans to a collector.
pub(crate) struct Traces(SdkTracerProvider);

/// Longest time for sending the last spans.
const LAST_SPANS: Duration = Duration::from_secs(5);

impl Traces {
    /// Starts to send spans, many at a time and on a thread of its own; spans that come faster than they can be
    /// sent are dropped. To be called within the runtime.
    pub(crate) fn start(settings: &TraceSettings) -> Result<Self, ExporterBuildError> {
        tls::install();
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(settings.endpoint.clone());
        if settings.endpoint.starts_with("https:") {
            exporter = exporter.with_tls_config(trusting(&settings.authorities));
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(ThrottledErrors::new(exporter.build()?))
            .with_sampler(settings.sampler.clone())
            .with_resource(resource(settings))
            .build();
        Ok(Self(provider))
    }

    /// The layer that collects the process's spans for sending.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("bk-plugin-framework"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_sent))
    }

    /// Sends the remaining spans, for at most [`LAST_SPANS`]. Blocks.
    pub(crate) fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Trusts the same certificate authorities as the framework's HTTP clients.
fn trusting(authorities: &Authorities) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new().with_enabled_roots();
    match authorities.pem() {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls,
    }
}

/// Payloads are logged at finer levels than INFO, and never sent.
fn is_sent(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && metadata.name() != LOG_SPAN
}

/// The attributes of all spans: the service they belong to, and its data token.
fn resource(settings: &TraceSettings) -> Resource {
    let mut resource = Resource::builder()
        .with_service_name(settings.service.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("deployment.environment.name", settings.environment.name()))
        .with_attribute(KeyValue::new("host.name", crate::hostname::hostname()));
    if let Some(token) = &settings.token {
        resource = resource.with_attribute(KeyValue::new("bk.data.token", token.expose_secret().to_owned()));
    }
    resource.build()
}

/// Puts a step's span into its invocation's trace, and adds the span's ids to its log lines.
pub(crate) fn place(span: &Span, parent: &TraceContext, cause: Option<&TraceContext>) {
    // Fails if the span is not sent at all: then it needs no parent.
    let _ = span.set_parent(context_of(parent));
    if let Some(cause) = cause {
        span.add_link(context_of(cause).span().span_context().clone());
    }
    show_ids(span);
}

/// Records a span's own ids on it, for the log.
fn show_ids(span: &Span) {
    let context = span.context();
    let ids = context.span().span_context().clone();
    if ids.is_valid() {
        span.record("otelTraceID", ids.trace_id().to_string());
        span.record("otelSpanID", ids.span_id().to_string());
    }
}

fn context_of(trace: &TraceContext) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carried(trace))
}

/// Gives OpenTelemetry read access to the headers of a trace that the framework carries.
struct Carried<'a>(&'a TraceContext);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.0.traceparent.as_deref(),
            "tracestate" => self.0.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Gives OpenTelemetry write access to the headers of a request.
struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
