//! `POST plugin_api_dispatch`: calls one of the author's `plugin_api` routes for a user.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bk_plugin_core::JsonObject;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::python_json::Parser;
use bk_plugin_kit::runtime::{UnexpectedError, panic_text};
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use serde::de::IgnoredAny;
use serde_json::Value;
use tower::ServiceExt as _;
use utoipa::ToSchema;

use super::Service;
use super::author_routes::PLUGIN_API;
use super::body::{MediaType, parse_json, unsupported_media_type};
use super::endpoint::NoRoute;
use super::envelope::{Failure, WithTraceId, json_bytes};
use super::gateway::{Admitted, JWT, ScopedApp};
use super::invalid_input::{InvalidInput, kind, must_be_an_object};
use super::multipart::{MultipartBody, Part};
use super::query::{fields, query_string};
use super::rejections::Rejected;

/// Which route is to be called, and with what.
#[derive(Debug, ToSchema)]
#[schema(as = DispatchRequest)]
pub(super) struct Call {
    /// Path of the route; begins with `/bk_plugin/plugin_api/`.
    #[schema(value_type = String, pattern = "^/bk_plugin/plugin_api/")]
    url: PathAndQuery,
    /// `get` or `post`, in any case.
    #[schema(value_type = String, pattern = "^([Gg][Ee][Tt]|[Pp][Oo][Ss][Tt])$")]
    method: Method,
    /// The user the route is called for.
    username: String,
    /// The query string of a GET, in place of the one in `url`; the JSON body of a POST. In a form it is the
    /// text of a JSON object.
    #[schema(value_type = Option<Object>, nullable = false, required = false)]
    data: JsonObject,
    /// The text of a JSON object whose keys are added to `data`.
    #[schema(value_type = Option<String>, nullable = false, required = false)]
    #[expect(dead_code, reason = "it is in the schema; its keys are in data")]
    dumped_data: (),
    /// Parts of a multipart body that are none of these keys, files mostly: a POST is multipart then.
    #[schema(ignore)]
    parts: Vec<Part>,
}

/// Calls one of the author's `plugin_api` routes for a user.
///
/// Headers that begin with `BK-PLUGIN-` are passed on, and so is `X-Bkapi-JWT`. A multipart body may hold
/// files, which are passed on too.
#[utoipa::path(
    post,
    path = "/bk_plugin/plugin_api_dispatch",
    tag = "plugin",
    request_body(content(
        (Call = "application/json"),
        (Call = "multipart/form-data"),
        (Call = "application/x-www-form-urlencoded"),
    )),
    responses(
        (status = 200, body = WithTraceId<serde_json::Value>, description = "What the route answered, whatever its status"),
        (status = 400, body = Failure, description = "Not JSON, or keys that are missing or wrong"),
        (status = 403, body = Failure, description = "Not through the gateway, or not from a scope of allow_scope"),
        (status = 404, body = Failure, description = "There is no such route"),
        (status = 413, body = Failure, description = "The body is too large"),
        (status = 415, body = Failure, description = "The body is neither JSON nor a form"),
        (status = 500, body = Failure, description = "The route failed unexpectedly"),
    )
)]
pub(super) async fn dispatch(
    _: Admitted<ScopedApp>,
    caller: Caller,
    State(service): State<Arc<Service>>,
    request: Request,
) -> Response {
    let trace_id = TraceId::random();
    match answer(&service, caller, request).await {
        Ok(data) => success(&data, &trace_id),
        Err(failure) => failure.with_trace_id(trace_id).into_response(),
    }
}

/// [`WithTraceId`], written around data that is JSON already.
fn success(data: &[u8], trace_id: &TraceId) -> Response {
    let end = format!(",\"message\":\"success\",\"trace_id\":\"{trace_id}\"}}");
    let body = [b"{\"result\":true,\"data\":", data, end.as_bytes()].concat();
    json_bytes(StatusCode::OK, body.into())
}

/// The JSON of the route's answer.
async fn answer(service: &Service, caller: Caller, request: Request) -> Result<Bytes, Failure> {
    let headers = passed_on(request.headers());
    let call = Call::read(service, request).await?;
    if service.settings().admission.is_development() && !headers.contains_key(JWT) {
        // The reference's message begins with these words, too.
        return Err(Failure::unexpected("the header X-Bkapi-JWT is missing"));
    }
    let url = call.url.clone();
    let mut request = call.into_request(headers, caller)?;
    DefaultBodyLimit::max(service.settings().largest_body(request.headers())).apply(&mut request);
    let routed = AssertUnwindSafe(service.plugin_api.clone().oneshot(request)).catch_unwind().await;
    let response = match routed {
        Ok(Ok(response)) => response,
        Err(panic) => {
            let panic = panic_text(&*panic);
            tracing::error!(path = url.path(), panic, "a route of the author's panicked");
            return Err(Failure::unexpected(&format!("panicked: {panic}")));
        }
    };
    if response.extensions().get::<NoRoute>().is_some() {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("404 error: {url}")));
    }
    if let Some(Rejected(failure)) = response.extensions().get() {
        return Err(failure.clone());
    }
    if let Some(UnexpectedError(text)) = response.extensions().get() {
        return Err(Failure::unexpected(text));
    }
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| Failure::unexpected(&format!("the answer broke off: {error}")))?;
    Ok(as_json(body.to_bytes()))
}

/// A body that is valid JSON as it is, any other as a JSON string.
fn as_json(body: Bytes) -> Bytes {
    if body.is_empty() {
        return Bytes::from_static(b"null");
    }
    let text = String::from_utf8_lossy(&body);
    // Parsed only to check it: the caller gets the route's own digits and order of keys.
    if serde_json::from_str::<IgnoredAny>(&text).is_ok() && matches!(text, Cow::Borrowed(_)) {
        return body;
    }
    Value::String(text.into_owned()).to_string().into()
}

/// The caller's headers that a route sees: no cookies, and none that proxies on the way added.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("bk-plugin-") || **name == JWT);
    ours.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Call {
    async fn read(service: &Service, request: Request) -> Result<Self, Failure> {
        let media_type = MediaType::of(request.headers());
        if media_type == MediaType::Multipart {
            let (fields, parts): (Vec<Part>, Vec<Part>) = service
                .read_parts(request)
                .await?
                .into_iter()
                .partition(|part| part.file_name.is_none() && KEYS.contains(&part.name.as_str()));
            let texts = fields.into_iter().map(|part| {
                let text = part.text();
                (part.name, text)
            });
            return Self::new(keys_of_form(texts), parts);
        }
        let body = service.read_body(request).await?;
        let keys = match media_type {
            MediaType::UrlEncoded => keys_of_form(form_urlencoded::parse(&body).into_owned()),
            _ if body.is_empty() => JsonObject::new(),
            MediaType::Json => InvalidInput::keys(parse_json(&body, Parser::Request)?)?,
            _ => return Err(unsupported_media_type()),
        };
        Self::new(keys, Vec::new())
    }

    fn new(mut keys: JsonObject, parts: Vec<Part>) -> Result<Self, Failure> {
        let mut invalid = InvalidInput::default();
        let url = required_text(&mut keys, "url", &mut invalid)
            .and_then(|text| path_and_query(&text).map_err(|what| invalid.add("url", what)).ok());
        let method = required_text(&mut keys, "method", &mut invalid).and_then(|text| {
            match text.to_ascii_lowercase().as_str() {
                "get" => Some(Method::GET),
                "post" => Some(Method::POST),
                _ => {
                    let what = format!("not supported method: {text}, only support get and post method");
                    invalid.add("method", what);
                    None
                }
            }
        });
        let username = required_text(&mut keys, "username", &mut invalid);
        let mut data = if keys.contains_key("data") { invalid.object(&mut keys, "data") } else { None }
            .unwrap_or_default();
        match keys.swap_remove("dumped_data") {
            None => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text)) => match dumped(&text) {
                Ok(dumped) => data.extend(dumped),
                Err(what) => invalid.add("dumped_data", what),
            },
            Some(other) => invalid.add("dumped_data", format!("must be text, not {}", kind(&other))),
        }
        match (invalid.check(), url, method, username) {
            (Ok(()), Some(url), Some(method), Some(username)) => {
                Ok(Self { url, method, username, data, dumped_data: (), parts })
            }
            (Err(failure), ..) => Err(failure),
            (Ok(()), ..) => unreachable!("a key without a value was complained of"),
        }
    }

    /// The request that the route gets, for the user that the caller names.
    fn into_request(self, headers: HeaderMap, caller: Caller) -> Result<Request, Failure> {
        let invalid = |what: &dyn std::fmt::Display| {
            let mut invalid = InvalidInput::default();
            invalid.add("data", what);
            invalid.check().err().unwrap_or_else(|| Failure::unexpected("data cannot be passed on"))
        };
        let mut url = self.url;
        let (content_type, len, body) = if self.method == Method::GET {
            let query = query_string(&self.data).map_err(|error| invalid(&error))?;
            // Without `data` the query of `url` stays, as in the reference; bk-sops puts the query there.
            if !query.is_empty() {
                url = PathAndQuery::try_from(format!("{}?{query}", url.path()))
                    .map_err(|_| invalid(&"is too long for a query string"))?;
            }
            (None, None, Body::empty())
        } else if self.parts.is_empty() {
            let json = Value::Object(self.data).to_string();
            (Some(HeaderValue::from_static("application/json")), None, Body::from(json))
        } else {
            let fields = fields(&self.data).map_err(|error| invalid(&error))?;
            let MultipartBody { content_type, len, body } = MultipartBody::new(&fields, self.parts);
            (HeaderValue::try_from(content_type).ok(), Some(len), body)
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(url);
        *request.headers_mut() = headers;
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        if let Some(len) = len {
            request.headers_mut().insert(CONTENT_LENGTH, len.into());
        }
        request.extensions_mut().insert(Caller { username: Some(self.username), ..caller });
        Ok(request)
    }
}

/// The form's own keys, which are not passed to the route.
const KEYS: [&str; 5] = ["url", "method", "username", "data", "dumped_data"];

/// The keys of a form, in which `data` is the text of an object.
fn keys_of_form(fields: impl Iterator<Item = (String, String)>) -> JsonObject {
    let value = |(key, text): (String, String)| {
        let value = if key == "data" { parse_json(text.as_bytes(), Parser::Loads).ok() } else { None };
        (key, value.unwrap_or(Value::String(text)))
    };
    fields.map(value).collect()
}

fn required_text(keys: &mut JsonObject, key: &str, invalid: &mut InvalidInput) -> Option<String> {
    match keys.swap_remove(key) {
        None => invalid.missing(key),
        // A number counts as text, and blanks around a text are dropped, as in the reference.
        Some(Value::Number(number)) => return Some(number.to_string()),
        Some(Value::String(text)) => match text.trim() {
            "" => invalid.add(key, "must not be empty"),
            trimmed => return Some(trimmed.to_owned()),
        },
        Some(other) => invalid.add(key, format!("must be text, not {}", kind(&other))),
    }
    None
}

fn path_and_query(url: &str) -> Result<PathAndQuery, String> {
    if url.strip_prefix(PLUGIN_API).is_none_or(|rest| !rest.starts_with('/')) {
        return Err(format!("url must starts with '{PLUGIN_API}/'"));
    }
    // Users write paths as they read them; in a request they must be ASCII.
    let mut encoded = String::with_capacity(url.len());
    for byte in url.bytes() {
        if byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    PathAndQuery::try_from(encoded).map_err(|error| format!("is not a valid path: {error}"))
}

fn dumped(text: &str) -> Result<JsonObject, String> {
    match parse_json(text.as_bytes(), Parser::Loads) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(must_be_an_object(&other)),
        Err(failure) => Err(failure.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(keys: &Value) -> String {
        Call::new(keys.as_object().unwrap().clone(), Vec::new()).unwrap_err().message().to_owned()
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(
            message(
                &json!({"url": "x", "method": "PUT", "username": "u", "data": [1], "dumped_data": "{bad"})
            ),
            "输入不合法: url: url must starts with '/bk_plugin/plugin_api/'; method: not supported method: PUT, \
             only support get and post method; data: must be an object, not a list; dumped_data: JSON parse \
             error - key must be a string at line 1 column 2"
        );
        assert_eq!(
            message(&json!({"data": null, "dumped_data": "[]", "username": " "})),
            "输入不合法: url: this field is required; method: this field is required; username: must not be \
             empty; data: must be an object, not null; dumped_data: must be an object, not a list"
        );
    }

    #[test]
    fn paths_are_made_ascii() {
        assert_eq!(
            path_and_query("/bk_plugin/plugin_api/中 /?a=%20").unwrap(),
            "/bk_plugin/plugin_api/%E4%B8%AD%20/?a=%20"
        );
        for bad in ["/bk_plugin/plugin_apix/", "http://h/bk_plugin/plugin_api/", "/bk_plugin/plugin_api"] {
            assert!(path_and_query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_are_json() {
        for (body, json) in [
            (&b""[..], "null"),
            (b"{\"a\": 123456789012345678901234567890}", "{\"a\": 123456789012345678901234567890}"),
            (b"plain \"text\"", "\"plain \\\"text\\\"\""),
            (b"\"\xff\"", "\"\\\"\u{fffd}\\\"\""),
        ] {
            assert_eq!(as_json(Bytes::from_static(body)), json);
        }
    }
}
