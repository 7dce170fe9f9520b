//! The distributed trace that a call belongs to: its headers as they came. Records and messages carry them, so that the
//! steps of an invocation can be found by the trace of the call that began it.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tracing::Span;

/// The headers of a trace. Only the trace's id is ever read from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// `traceparent` of W3C Trace Context, as OpenTelemetry sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `tracestate`, which belongs to `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// `X-Amzn-Trace-Id` of AWS X-Ray.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xray: Option<String>,
}

/// Puts a new span into the trace of `parent`, with a link to `cause`, the trace that triggered the span's work if that
/// is another one. `tracing` knows the spans of one process only, so the process that exports spans provides this.
pub type LinkSpan = fn(span: &Span, parent: &TraceContext, cause: Option<&TraceContext>);

/// Name of spans that only tag log lines with their invocation: they are no part of a trace.
pub const LOG_SPAN: &str = "invocation";

/// Longest header in bytes that is carried. A longer one is not a valid trace, and would make every message larger.
const LONGEST: usize = 512;

impl TraceContext {
    /// No trace.
    pub const NONE: &Self = &Self { traceparent: None, tracestate: None, xray: None };

    /// Whether it names no trace.
    pub fn is_empty(&self) -> bool {
        self.traceparent.is_none() && self.xray.is_none()
    }

    /// The trace that a request's headers name.
    pub fn of(headers: &HeaderMap) -> Self {
        let header = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            (!value.is_empty() && value.len() <= LONGEST).then(|| value.to_owned())
        };
        let traceparent = header("traceparent");
        Self {
            tracestate: traceparent.as_ref().and_then(|_| header("tracestate")),
            traceparent,
            xray: header("x-amzn-trace-id"),
        }
    }

    /// The trace's id for logs: that of `traceparent`, else the root of X-Ray's header.
    pub fn id(&self) -> Option<&str> {
        let w3c = self.traceparent.as_deref().and_then(|header| header.split('-').nth(1));
        let xray = self
            .xray
            .as_deref()
            .and_then(|header| header.split(';').find_map(|field| field.trim().strip_prefix("Root=")));
        w3c.or(xray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const XRAY: &str = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1";

    #[test]
    fn headers_are_carried_as_they_came() {
        let mut headers = HeaderMap::new();
        assert!(TraceContext::of(&headers).is_empty());
        headers.insert("x-amzn-trace-id", XRAY.parse().unwrap());
        assert_eq!(TraceContext::of(&headers).id(), Some("1-67891233-abcdef012345678912345678"));
        headers.insert("traceparent", TRACEPARENT.parse().unwrap());
        headers.insert("tracestate", "a=b".parse().unwrap());
        let trace = TraceContext::of(&headers);
        assert_eq!(trace.id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let json = serde_json::to_string(&trace).unwrap();
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), trace);
    }

    #[test]
    fn what_is_too_long_is_no_trace() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "0".repeat(LONGEST + 1).parse().unwrap());
        assert!(TraceContext::of(&headers).is_empty());
    }
}
