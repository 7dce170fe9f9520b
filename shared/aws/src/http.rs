//! The routers of the kit as a handler of HTTP events: API Gateway (HTTP and REST), function URLs and load
//! balancers.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::protocol::{EndsAt, Front};
use bk_plugin_kit::trace_context::TraceContext;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt as _};
use tower::Service as _;
use tracing::Instrument as _;

use crate::log::Metrics;

/// Answers one event.
pub(crate) async fn answer(
    mut front: Front,
    metrics: Metrics,
    request: Request,
) -> Result<Response, Infallible> {
    let context = request.lambda_context_ref().cloned().unwrap_or_default();
    let stage = stage(&request).map(ToOwned::to_owned);
    let trace = TraceContext::of(request.headers());
    let mut request = request.map(Body::new);
    if let Some(stage) = stage {
        strip_stage(request.uri_mut(), &stage);
    }
    request.extensions_mut().insert(EndsAt(ends_at(&context)));
    let span = tracing::info_span!("event", aws_request_id = context.request_id, otelTraceID = trace.id());
    let answered = front.call(request).instrument(span).await;
    metrics.flush();
    answered
}

/// When Lambda kills the function.
pub(crate) fn ends_at(context: &lambda_runtime::Context) -> Timestamp {
    Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX))
}

/// The stage that an API Gateway puts in front of the path.
fn stage(request: &Request) -> Option<&str> {
    let stage = match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.stage.as_deref(),
        RequestContext::ApiGatewayV1(context) => context.stage.as_deref(),
        _ => None,
    };
    stage.filter(|stage| *stage != "$default")
}

/// Takes the stage off a path, where it stands.
fn strip_stage(uri: &mut Uri, stage: &str) {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let Some(rest) = whole.strip_prefix('/').and_then(|path| path.strip_prefix(stage)) else { return };
    if !rest.starts_with('/') {
        return;
    }
    let rest = rest.to_owned();
    let mut parts = std::mem::take(uri).into_parts();
    // A part of a path that begins with a slash is one.
    parts.path_and_query = PathAndQuery::try_from(rest).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_taken_off_where_it_stands() {
        for (whole, stripped) in [
            ("https://x/prod/schema/?a=/prod/", "https://x/schema/?a=/prod/"),
            ("https://x/schema/", "https://x/schema/"),
            ("https://x/production/schema", "https://x/production/schema"),
            ("https://x/prod", "https://x/prod"),
        ] {
            let mut uri: Uri = whole.parse().unwrap();
            strip_stage(&mut uri, "prod");
            assert_eq!(uri.to_string(), stripped);
        }
    }
}
