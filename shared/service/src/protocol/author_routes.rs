//! The author's own routes, and what their handlers are given and may answer.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::from_extractor_with_state;
use axum::response::{IntoResponse, Response};

use super::Service;
use super::envelope::Failure;
use super::gateway::{Admitted, Audience, VerifiedApp, VerifiedUser};
use crate::caller::Caller;
use crate::error::{Error, with_sources};

/// Where the routes stand that `plugin_api_dispatch` reaches.
pub(super) const PLUGIN_API: &str = "/bk_plugin/plugin_api";
const OPENAPI: &str = "/bk_plugin/openapi";
const PRIVATE: &str = "/bk_plugin/private";

/// The author's routes for callers that come through the gateway.
pub(super) fn routes(service: &Arc<Service>) -> Router {
    let author = service.engine.registry().routes();
    let of_apps = mount(OPENAPI, &author.openapi).merge(mount(PRIVATE, &author.private));
    only_for::<VerifiedUser>(mount(PLUGIN_API, &author.plugin_api), service)
        .merge(only_for::<VerifiedApp>(of_apps, service))
}

fn only_for<A: Audience + 'static>(routes: Router, service: &Arc<Service>) -> Router {
    routes.layer(from_extractor_with_state::<Admitted<A>, _>(Arc::clone(service)))
}

pub(super) fn mount(path: &str, routes: &Router) -> Router {
    Router::new().nest(path, routes.clone())
}

/// Who calls; an extractor for the handlers of the author's routes.
///
/// ```
/// use axum::{Router, routing::get};
/// use bk_plugin_kit::prelude::*;
///
/// async fn tasks(caller: Caller) -> Result<String> {
///     let Some(username) = caller.username else { return fail("nobody is named") };
///     Ok(format!("tasks of {username}"))
/// }
/// let routes: Router = Router::new().route("/tasks", get(tasks));
/// ```
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Stands in the extensions of an answer that is an unexpected error of the author's route; holds its text.
#[derive(Debug, Clone)]
pub(super) struct UnexpectedError(pub(super) String);

/// What a route of the author's that failed unexpectedly is answered with. (The typo is the reference's.)
pub(super) fn unexpected(text: &str) -> Failure {
    let message = format!("unknow error, please contact plugin developers: {text}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// The answer of an author's handler that returns the kit's `Result`: 400 in the author's own words, or 500
/// for an unexpected error.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Fail(message) => Failure::bad_request(message).into_response(),
            Self::Unexpected(error) => {
                let text = with_sources(&*error);
                tracing::error!(error = text, "a route of the author's failed");
                let mut response = unexpected(&text).into_response();
                response.extensions_mut().insert(UnexpectedError(text));
                response
            }
        }
    }
}
