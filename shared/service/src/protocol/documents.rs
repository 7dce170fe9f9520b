//! `/schema/` and `/swagger/`: the OpenAPI document of all routes and a page that shows it.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::extract::OriginalUri;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::{IntoResponses, Modify, OpenApi, openapi as document};
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::envelope::{Failure, json_bytes};
use super::gateway::{Admitted, AnyCaller};
use super::segment::Segment;
use super::{callback, detail, dispatch, invoke, logs, meta, schedule};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "BlueKing plugin",
        version = "1",
        description = "What a BlueKing plugin answers to the platform, to bk-sops and to third parties. Every \
                       path is also answered with a slash at its end and under a prefix.",
        license(name = "MIT"),
    ),
    paths(
        meta::meta,
        detail::detail,
        invoke::invoke,
        schedule::schedule,
        callback::callback,
        dispatch::dispatch,
        plugin_api,
        openapi,
        private,
        logs::logs
    ),
    tags(
        (name = "plugin", description = "The plugin interface"),
        (name = "author", description = "The author's own routes; what they take and answer is theirs"),
        (name = "development", description = "Only in development"),
    ),
    modifiers(&NoSharedIds)
)]
struct Document;

/// Removes the operation ids of the author's routes: an id names one operation, and these routes accept any
/// method.
struct NoSharedIds;

impl Modify for NoSharedIds {
    fn modify(&self, whole: &mut document::OpenApi) {
        for item in whole.paths.paths.values_mut() {
            let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            let operations = methods.into_iter().flatten();
            let operations = operations.filter(|it| it.tags.iter().flatten().any(|tag| tag == "author"));
            operations.for_each(|operation| operation.operation_id = None);
        }
    }
}

/// What the author's routes answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it stands for the author's handlers")]
enum AuthorAnswer {
    /// Whatever the route answers
    #[response(status = "default")]
    Any,
    /// Not through the gateway
    #[response(status = 403)]
    Forbidden(Failure),
    /// There is no such route
    #[response(status = 404)]
    NoRoute(Failure),
}

/// Routes that plugin_api_dispatch reaches, too.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/bk_plugin/plugin_api/{path}",
    tag = "author",
    params(("path" = String, Path, description = "Path of the author's route")),
    responses(AuthorAnswer)
)]
#[expect(dead_code, reason = "it stands for the author's handlers")]
fn plugin_api() {}

/// Routes for other systems.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/bk_plugin/openapi/{path}",
    tag = "author",
    params(("path" = String, Path, description = "Path of the author's route")),
    responses(AuthorAnswer)
)]
#[expect(dead_code, reason = "it stands for the author's handlers")]
fn openapi() {}

/// Routes for the plugin's own use.
#[utoipa::path(
    method(get, post, put, patch, delete),
    path = "/bk_plugin/private/{path}",
    tag = "author",
    params(("path" = String, Path, description = "Path of the author's route")),
    responses(AuthorAnswer)
)]
#[expect(dead_code, reason = "it stands for the author's handlers")]
fn private() {}

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&Document::openapi()).expect("a document is JSON").into());

/// The page links to the document by a relative path, so a prefix in front of both does not matter.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("../schema/")));

pub(super) async fn schema(_: Admitted<AnyCaller>) -> Response {
    json_bytes(StatusCode::OK, DOCUMENT.clone())
}

pub(super) async fn swagger_page(_: Admitted<AnyCaller>, OriginalUri(uri): OriginalUri) -> Response {
    let mut page = file("index.html");
    if !uri.path().ends_with('/')
        && let Some(page) = &mut page
    {
        // The page's links are relative to a path with a slash at its end, and nothing redirects to that path.
        let html =
            String::from_utf8_lossy(&page.bytes).replacen("<head>", "<head><base href=\"swagger/\">", 1);
        page.bytes = Cow::Owned(html.into_bytes());
    }
    answer(page)
}

pub(super) async fn swagger_file(_: Admitted<AnyCaller>, Segment(name): Segment) -> Response {
    answer(file(&name))
}

fn file(name: &str) -> Option<SwaggerFile<'static>> {
    utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)).unwrap_or_else(|error| {
        tracing::error!(%error, name, "a file of the Swagger UI could not be made");
        None
    })
}

fn answer(file: Option<SwaggerFile<'static>>) -> Response {
    match file {
        Some(file) => ([(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response(),
        None => Failure::new(StatusCode::NOT_FOUND, "there is no such file").into_response(),
    }
}
