//! What applies to every request, whatever its route.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::EXPECT;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bk_plugin_core::clock::Clock;
use bk_plugin_kit::runtime::panic_text;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Service, ServiceExt as _};

use super::body::discard;
use super::envelope::Failure;
use super::upload_time::UploadTime;
use super::{Description, KilledAt, ProtocolSettings};

/// Marks an answer that did not come from a route, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoRoute;

/// Wraps merged route groups (and whatever else is served beside them) with everything that applies to all of
/// them:
///
/// - a path prefix in front of `/bk_plugin/`, which a gateway's stage or a sub-path leaves there, is removed;
/// - every route, the author's included, answers with and without a trailing slash, and nothing is redirected (the
///   reference answers 301, 404 or 500, and clients do not follow a redirected POST). Exception: an author's
///   router that has its own fallback receives unmatched requests unchanged;
/// - an unknown route is answered 404, a wrong method 405, a body that is too large 413, a panic 500 and a request
///   that takes too long 408, all in the envelope.
pub fn endpoint(description: &Description, routes: Router) -> Endpoint {
    Endpoint(Arc::new(Inner {
        routes: with_either_slash(routes),
        settings: description.settings.clone(),
        clock: Arc::clone(&description.clock),
    }))
}

/// All routes, wrapped by [`endpoint()`]: a service for `axum::serve` or for Lambda's runtime.
///
/// It is not a router around a router, because looking a path up twice shows in a load test.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

/// Time reserved for answering that a request takes too long; at most a quarter of the request's time.
const ANSWERING: Duration = Duration::from_millis(500);

struct Inner {
    routes: Router,
    settings: ProtocolSettings,
    clock: Arc<dyn Clock>,
}

impl Service<Request> for Endpoint {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Inner {
    async fn answer(&self, request: Request) -> Response {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (timeout, upload_time) = (self.timeout(&request), UploadTime::default());
        let answered = AssertUnwindSafe(self.route(request, &upload_time)).catch_unwind();
        match upload_time.within(timeout, answered).await {
            Some(Ok(response)) => response,
            Some(Err(panic)) => {
                let panic = panic_text(&*panic);
                tracing::error!(%method, path = logged(uri.path()), panic, "a request panicked");
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error: the server's log says more")
                    .into_response()
            }
            None => {
                tracing::warn!(%method, path = logged(uri.path()), "a request took too long");
                let seconds = timeout.as_secs_f64();
                let message = format!("the request took longer than its time limit of {seconds} s");
                Failure::new(StatusCode::REQUEST_TIMEOUT, message).into_response()
            }
        }
    }

    /// Time limit of a request, without the time of its upload; shorter if the process will be killed before.
    fn timeout(&self, request: &Request) -> Duration {
        let Some(KilledAt(end)) = request.extensions().get() else { return self.settings.request_timeout };
        let left = end.since(self.clock.now());
        self.settings.request_timeout.min(left.saturating_sub(ANSWERING.min(left / 4)))
    }

    async fn route(&self, request: Request, upload_time: &UploadTime) -> Response {
        let limit = self.settings.largest_body(request.headers());
        let too_large = request.body().size_hint().lower() > limit as u64;
        let mut request = request.map(|body| upload_time.measure(body));
        if too_large {
            return refuse_body(request, limit).await;
        }
        // The limit applies to the author's extractors too, whose own default is smaller than the reference's.
        DefaultBodyLimit::max(limit).apply(&mut request);
        strip_prefix(request.uri_mut());
        into_response(self.routes.clone().oneshot(request).await)
    }
}

async fn refuse_body(request: Request, limit: usize) -> Response {
    // A client that sent `Expect` waits for permission and has sent no body yet.
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body()).await;
    }
    Failure::body_too_large(limit).into_response()
}

/// The path as it may be logged: the token in a callback's path is a credential.
fn logged(path: &str) -> &str {
    const CALLBACK: &str = "/callback/";
    path.find(CALLBACK).map_or(path, |at| &path[..at + CALLBACK.len()])
}

/// Makes every route answer with and without a trailing slash, and answers an unknown path or a wrong method in
/// the envelope.
///
/// A request that matches no route is tried once more with the slash added or removed; so it does not matter how a
/// route is declared, and a request that matches at once costs nothing.
pub(super) fn with_either_slash(routes: Router) -> Router {
    let routes = routes.method_not_allowed_fallback(method_not_allowed);
    let as_declared = routes.clone().fallback(no_route);
    routes.fallback(move |mut request: Request| async move {
        toggle_slash(request.uri_mut());
        into_response(as_declared.oneshot(request).await)
    })
}

fn into_response(answered: Result<Response, Infallible>) -> Response {
    match answered {
        Ok(response) => response,
    }
}

async fn no_route() -> Response {
    let mut response = Failure::new(StatusCode::NOT_FOUND, "there is no such path").into_response();
    response.extensions_mut().insert(NoRoute);
    response
}

async fn method_not_allowed(method: Method) -> Failure {
    let message = format!("method {method} is not allowed here");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// Removes whatever stands before the first `/bk_plugin/`.
fn strip_prefix(uri: &mut Uri) {
    if let Some(at) = uri.path().find("/bk_plugin/").filter(|at| *at > 0) {
        let stripped = uri.path_and_query().map(|whole| whole.as_str()[at..].to_owned());
        set_path(uri, stripped.unwrap_or_default());
    }
}

fn toggle_slash(uri: &mut Uri) {
    let path = uri.path();
    let mut toggled = match path.strip_suffix('/') {
        Some("") => return,
        Some(without) => without.to_owned(),
        None => format!("{path}/"),
    };
    if let Some(query) = uri.query() {
        toggled.push('?');
        toggled.push_str(query);
    }
    set_path(uri, toggled);
}

fn set_path(uri: &mut Uri, path_and_query: String) {
    let mut parts = std::mem::take(uri).into_parts();
    // A part of a path, or a path with one more slash, is still a valid path.
    parts.path_and_query = PathAndQuery::try_from(path_and_query).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(uri: &str, change: impl Fn(&mut Uri)) -> String {
        let mut uri: Uri = uri.parse().unwrap();
        change(&mut uri);
        uri.to_string()
    }

    #[test]
    fn a_prefix_is_taken_off() {
        for (whole, stripped) in [
            ("/bk_plugin/meta", "/bk_plugin/meta"),
            ("/prod/bk_plugin/meta?a=/bk_plugin/", "/bk_plugin/meta?a=/bk_plugin/"),
            ("/a/b/bk_plugin/plugin_api/bk_plugin/", "/bk_plugin/plugin_api/bk_plugin/"),
            ("http://h:1/s/bk_plugin/meta/", "http://h:1/bk_plugin/meta/"),
            ("/x_bk_plugin/meta", "/x_bk_plugin/meta"),
            ("/meta?x=/bk_plugin/", "/meta?x=/bk_plugin/"),
        ] {
            assert_eq!(changed(whole, strip_prefix), stripped);
        }
    }

    #[test]
    fn a_slash_is_added_or_removed() {
        for (uri, toggled) in [("/a?b=c/", "/a/?b=c/"), ("/a/b/", "/a/b"), ("/", "/")] {
            assert_eq!(changed(uri, toggle_slash), toggled);
        }
    }

    #[test]
    fn tokens_are_not_logged() {
        assert_eq!(logged("/bk_plugin/callback/gAAAA/"), "/bk_plugin/callback/");
        assert_eq!(logged("/bk_plugin/meta"), "/bk_plugin/meta");
    }
}
