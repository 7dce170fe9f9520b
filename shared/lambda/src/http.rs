//! Answers HTTP events with the framework's routers: events of API Gateway (HTTP and REST), function URLs and load
//! balancers.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::trace_context::TraceContext;
use bk_plugin_service::protocol::{Endpoint, KilledAt};
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt as _};
use tower::Service as _;
use tracing::Instrument as _;

use crate::log::Metrics;

/// Answers one event.
pub(crate) async fn answer(
    mut endpoint: Endpoint,
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
    request.extensions_mut().insert(KilledAt(ends_at(&context)));
    let span = tracing::info_span!("event", aws_request_id = context.request_id, otelTraceID = trace.id());
    let answered = endpoint.call(request).instrument(span).await;
    metrics.flush();
    answered
}

/// The time at which Lambda kills the function.
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

/// Removes the stage from the beginning of a path, if it is there.
fn strip_stage(uri: &mut Uri, stage: &str) {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let Some(rest) = whole.strip_prefix('/').and_then(|path| path.strip_prefix(stage)) else { return };
    if !rest.starts_with('/') {
        return;
    }
    let rest = rest.to_owned();
    let mut parts = std::mem::take(uri).into_parts();
    // A part of a path that begins with a slash is still a valid path.
    parts.path_and_query = PathAndQuery::try_from(rest).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bk_plugin_core::clock::{Clock as _, SystemClock};
    use bk_plugin_kit::prelude::*;
    use bk_plugin_service::protocol::{self, Description, ProtocolSettings};
    use serde_json::{Value, json};

    use super::*;

    struct Nothing;

    impl Plugin for Nothing {
        const META: Meta = Meta::version("1.0.0");
        type Inputs = Empty;
        type Context = Context;

        async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
            Ok(Next::done())
        }
    }

    /// Status and code of the answer of `meta` and the documents to an event.
    async fn answered(event: &Value) -> (u16, Value) {
        let registry = Arc::new(Project::new("").version(Nothing).build().unwrap());
        let settings = ProtocolSettings::new("demo", protocol::time_zone(None).unwrap());
        let description = Description::new(registry, settings, Arc::new(SystemClock));
        let routes = protocol::meta_routes(&description).merge(protocol::document_routes(&description));
        let endpoint = protocol::endpoint(&description, routes);
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let mut context = lambda_runtime::Context::default();
        let deadline = SystemClock.now() + std::time::Duration::from_secs(20);
        context.deadline = u64::try_from(deadline.as_millis()).unwrap();
        let response = answer(endpoint, Metrics::none(), request.with_lambda_context(context)).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// An HTTP API's event; a function URL's has the same format.
    fn http_api(stage: &str, path: &str) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {},
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r",
                "http": { "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "::1", "userAgent": "" },
                "routeKey": "$default", "stage": stage, "time": "", "timeEpoch": 0,
            },
            "isBase64Encoded": false,
        })
    }

    fn rest_api(stage: &str, path: &str) -> Value {
        json!({
            "resource": "/{proxy+}", "path": path, "httpMethod": "GET", "headers": {}, "multiValueHeaders": {},
            "queryStringParameters": null, "multiValueQueryStringParameters": null, "pathParameters": null,
            "stageVariables": null, "body": null, "isBase64Encoded": false,
            "requestContext": {
                "accountId": "1", "resourceId": "r", "stage": stage, "requestId": "r", "resourcePath": "/{proxy+}",
                "httpMethod": "GET", "apiId": "a", "path": format!("/{stage}{path}"), "protocol": "HTTP/1.1",
                "identity": { "sourceIp": "::1" },
            },
        })
    }

    #[tokio::test]
    async fn events_of_every_kind_are_answered() {
        for event in [
            http_api("$default", "/bk_plugin/meta"),
            http_api("$default", "/bk_plugin/meta/"),
            http_api("prod", "/prod/bk_plugin/meta"),
            rest_api("prod", "/bk_plugin/meta"),
            rest_api("prod", "/bk_plugin/meta/"),
        ] {
            let (status, body) = answered(&event).await;
            assert_eq!((status, &body["data"]["code"]), (200, &json!("demo")), "{event}");
        }
        for event in
            [http_api("$default", "/schema/"), http_api("prod", "/prod/schema/"), rest_api("prod", "/schema")]
        {
            let (status, body) = answered(&event).await;
            assert!(status == 200 && body["paths"].is_object(), "{event}");
        }
    }

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
