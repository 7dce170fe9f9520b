//! Reading a request's body, by the rules of the reference's parsers.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use bk_plugin_core::python_json::{self, Parser};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::Service;
use super::envelope::Failure;

/// The format of a body, as its content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    Json,
    UrlEncoded,
    Multipart,
    /// Another content type, or none.
    Other,
}

impl MediaType {
    /// Parameters of the content type, such as the charset, do not matter: JSON is UTF-8.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        [
            ("application/json", Self::Json),
            ("application/x-www-form-urlencoded", Self::UrlEncoded),
            ("multipart/form-data", Self::Multipart),
        ]
        .into_iter()
        .find_map(|(name, media_type)| essence.eq_ignore_ascii_case(name).then_some(media_type))
        .unwrap_or(Self::Other)
    }
}

/// A body that is neither JSON nor a form.
pub(super) fn unsupported_media_type() -> Failure {
    Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the Content-Type must be application/json (or multipart/form-data or \
         application/x-www-form-urlencoded)",
    )
}

const UNREADABLE: &str = "the request body could not be read to its end";

/// Reads a refused body, up to a limit, and drops it: a connection that is closed with a body unread is reset, and
/// the client may never see the answer.
pub(super) async fn discard(mut body: Body) {
    const MOST: usize = 64 * 1024 * 1024;
    let mut read = 0;
    while read < MOST
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}

impl Service {
    /// The whole body.
    pub(super) async fn read_body(&self, request: Request) -> Result<Bytes, Failure> {
        let limit = self.settings().body_limit;
        let mut body = request.into_body();
        match Limited::new(&mut body, limit).collect().await {
            Ok(read) => Ok(read.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                discard(body).await;
                Err(Failure::body_too_large(limit))
            }
            Err(_) => Err(Failure::bad_request(UNREADABLE)),
        }
    }

    /// The failure for a body that axum rejected with this status.
    pub(super) fn unread(&self, status: StatusCode) -> Failure {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::body_too_large(self.settings().body_limit),
            _ => Failure::bad_request(UNREADABLE),
        }
    }
}

/// Parses a body that is JSON, as the reference's parser does.
pub(super) fn parse_json(body: &[u8], parser: Parser) -> Result<Value, Failure> {
    python_json::parse(body, parser)
        .map_err(|error| Failure::bad_request(format!("JSON parse error - {error}")))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn content_types() {
        for (text, media_type) in [
            ("application/json", MediaType::Json),
            ("Application/JSON ; charset=utf-8", MediaType::Json),
            ("application/x-www-form-urlencoded", MediaType::UrlEncoded),
            ("multipart/form-data; boundary=x", MediaType::Multipart),
            ("application/xml", MediaType::Other),
            ("", MediaType::Other),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]);
            assert_eq!(MediaType::of(&headers), media_type, "{text}");
        }
        assert_eq!(MediaType::of(&HeaderMap::new()), MediaType::Other);
    }

    #[test]
    fn what_is_not_json_is_said_and_nothing_overflows() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for body in ["", "{not json", "\u{feff}{}", "NaN", "[Infinity]", "{} {}", &deep] {
            let failure = parse_json(body.as_bytes(), Parser::Request).unwrap_err();
            assert_eq!(failure.status(), StatusCode::BAD_REQUEST);
            assert!(failure.message().starts_with("JSON parse error - "), "{}", failure.message());
        }
        assert!(parse_json(b"\"\xff\"", Parser::Request).is_err());
    }
}
