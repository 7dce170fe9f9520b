//! Requests that an extractor of an author's handler refuses: axum's `Path`, `Query`, `Json`, `Form` and `Multipart`.
//!
//! axum answers in plain text, which a client of the plugin would take for data. So such an answer is put into the
//! envelope, with `result: false` and axum's text as the message.

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use super::envelope::Failure;

/// The failure that was answered in place of axum's text, in the extensions of the answer.
#[derive(Debug, Clone)]
pub(super) struct Rejected(pub(super) Failure);

/// How axum's text begins if the path does not fit the handler's type, such as `/task_list/undefined` for a number.
const PATH: &str = "Invalid URL: ";

/// How the other texts begin: axum's, and those of multer, which reads multipart bodies for axum.
const OTHERS: [&str; 15] = [
    "Failed to deserialize query string",
    "Failed to deserialize the JSON body into the target type",
    "Failed to parse the request body as JSON",
    "Expected request with `Content-Type: application/json`",
    "Failed to deserialize form",
    "Form requests must have `Content-Type: application/x-www-form-urlencoded`",
    "Invalid `boundary` for `multipart/form-data` request",
    "failed to decode field's raw header",
    "failed to read field complete headers",
    "failed to read headers",
    "failed to read stream",
    "incomplete multipart stream",
    "stream size exceeded limit",
    "Failed to buffer the request body",
    "Request body didn't contain valid UTF-8",
];

/// axum's texts are short; a longer answer is the author's.
const LONGEST_TEXT: u64 = 16 * 1024;

/// The same answer, in the envelope if it is an extractor's.
pub(super) async fn in_envelope(response: Response) -> Response {
    if !may_be_rejection(&response) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(text) = to_bytes(body, usize::MAX).await else {
        return Failure::unexpected("the answer broke off").into_response();
    };
    let Some(failure) = std::str::from_utf8(&text).ok().and_then(|text| failure(parts.status, text)) else {
        return Response::from_parts(parts, Body::from(text));
    };
    let mut response = failure.clone().into_response();
    response.extensions_mut().insert(Rejected(failure));
    response
}

fn may_be_rejection(response: &Response) -> bool {
    let is_text =
        || response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/plain; charset=utf-8");
    let is_short = || response.body().size_hint().exact().is_some_and(|size| size <= LONGEST_TEXT);
    response.status().is_client_error() && is_text() && is_short()
}

fn failure(status: StatusCode, text: &str) -> Option<Failure> {
    if status == StatusCode::BAD_REQUEST && text.starts_with(PATH) {
        // As in the reference, where a path such as `<int:biz_id>` is a route for numbers only.
        return Some(Failure::new(StatusCode::NOT_FOUND, text.to_owned()));
    }
    OTHERS.iter().any(|begin| text.starts_with(begin)).then(|| Failure::new(status, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::extract::{Form, Multipart, Path, Query, Request};
    use axum::middleware::map_response;
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use http_body_util::BodyExt as _;
    use serde::Deserialize;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    #[derive(Deserialize)]
    struct Input {
        #[expect(dead_code, reason = "it is read only")]
        number: u64,
    }

    fn routes() -> Router {
        Router::new()
            .route("/path/{biz_id}", get(async |Path(_): Path<u64>| "found"))
            .route("/query", get(async |Query(_): Query<Input>| "found"))
            .route("/json", post(async |Json(_): Json<Input>| "found"))
            .route("/form", post(async |Form(_): Form<Input>| "found"))
            .route(
                "/files",
                post(async |mut parts: Multipart| match parts.next_field().await {
                    Ok(_) => "found".into_response(),
                    Err(error) => error.into_response(),
                }),
            )
            .route("/own", get(async || (StatusCode::BAD_REQUEST, "the author's own words")))
            .layer(map_response(in_envelope))
    }

    async fn answer(method: &str, path: &str, kind: &str, body: &'static str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind);
        let response = routes().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
    }

    #[tokio::test]
    async fn what_extractors_refuse_is_a_failure() {
        let (json_kind, form) = ("application/json", "application/x-www-form-urlencoded");
        let cases = [
            ("GET", "/path/undefined", "", "", 404),
            ("GET", "/query?number=x", "", "", 400),
            ("POST", "/json", json_kind, "{", 400),
            ("POST", "/json", json_kind, r#"{"number": "x"}"#, 422),
            ("POST", "/json", "text/plain", "{}", 415),
            ("POST", "/form", form, "number=x", 422),
            ("POST", "/form", "text/plain", "", 415),
            ("POST", "/files", "text/plain", "", 400),
            ("POST", "/files", "multipart/form-data; boundary=b", "", 400),
            ("POST", "/files", "multipart/form-data; boundary=b", "--b\r\n", 400),
            ("POST", "/files", "multipart/form-data; boundary=b", "--b\r\n\u{0}: \r\n\r\n", 400),
        ];
        for (method, path, kind, body, status) in cases {
            let (got, answer) = answer(method, path, kind, body).await;
            assert_eq!(got, status, "{path} {answer}");
            assert_eq!(answer["result"], json!(false), "{path} {answer}");
            assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{path} {answer}");
        }
    }

    #[tokio::test]
    async fn the_authors_own_answers_stay() {
        assert_eq!(answer("GET", "/own", "", "").await, (400, json!("the author's own words")));
        assert_eq!(answer("GET", "/path/1", "", "").await, (200, json!("found")));
    }
}
