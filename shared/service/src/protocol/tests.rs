//! The routes as a client sees them, over a store in memory.

mod author_routes;
mod dispatch;
mod gateway;
mod plugin;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use bk_plugin_core::ids::TraceId;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use self::plugin::{Fixture, fixture};
use super::gateway_claims::tests::jwt;
use super::*;

/// An answer: status, headers and body (text if it is not JSON).
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// Whether this is an error in the envelope, with this status.
    fn is_failure(&self, status: u16) -> bool {
        self.status == status && self.body["result"] == json!(false) && !self.message().is_empty()
    }
}

async fn send(routes: &Endpoint, request: Request<Body>) -> Answer {
    let response = routes.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

fn request(method: Method, path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    if !content_type.is_empty() {
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    }
    request
}

async fn get(routes: &Endpoint, path: &str) -> Answer {
    send(routes, request(Method::GET, path, "", Body::empty())).await
}

async fn post(routes: &Endpoint, path: &str, body: impl Into<Body>) -> Answer {
    send(routes, request(Method::POST, path, "application/json", body)).await
}

const ECHO: &str = r#"{"inputs": {"hello": "world"}, "context": {}}"#;

#[tokio::test]
async fn meta_and_detail() {
    let Fixture { routes, .. } = fixture(|_| {});
    let meta = get(&routes, "/bk_plugin/meta/?a=1").await;
    assert_eq!(
        meta.body,
        json!({
            "result": true,
            "data": {
                "code": "bk-plugin-demo",
                "versions": ["1.10.0", "1.3.0", "1.0.0"],
                "language": "rust",
                "description": "for tests 测试",
                "framework_version": env!("CARGO_PKG_VERSION"),
                "runtime_version": env!("CARGO_PKG_VERSION"),
                "allow_scope": {"bk_sops": {"type": "project", "value": ["1"]}},
            },
            "message": "",
        })
    );
    assert_eq!(meta.headers[CONTENT_TYPE], "application/json");
    let detail = get(&routes, "/bk_plugin/detail/1.0.0").await;
    assert_eq!(detail.body["data"]["forms"], json!({"renderform": "form of 1.0.0"}));
    let unknown = get(&routes, "/bk_plugin/detail/9.9.9").await;
    assert!(
        unknown.is_failure(404) && unknown.message().contains("1.10.0, 1.3.0, 1.0.0"),
        "{}",
        unknown.body
    );
}

#[tokio::test]
async fn invoke_answers_in_the_order_of_the_reference() {
    let Fixture { routes, .. } = fixture(|_| {});
    let request = request(Method::POST, "/bk_plugin/invoke/1.0.0", "application/json; charset=utf-8", ECHO);
    let body = routes.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let (start, trace_id) = text.split_at(text.len() - 35);
    assert_eq!(
        start,
        r#"{"result":true,"data":{"outputs":{"world":"world"},"state":4,"err":null},"message":"success","trace_id":"#
    );
    assert!(TraceId::parse(&trace_id[1..33]).is_ok() && trace_id.ends_with("\"}"), "{trace_id}");
}

#[tokio::test]
async fn invoke_that_fails_is_an_answer() {
    let Fixture { routes, .. } = fixture(|_| {});
    let invalid = post(&routes, "/bk_plugin/invoke/1.0.0", r#"{"inputs": {}, "context": {}}"#).await;
    assert_eq!(
        (invalid.status, &invalid.body["result"], &invalid.body["data"]["state"]),
        (200, &json!(true), &json!(5))
    );
    assert_eq!(invalid.body["data"]["outputs"], Value::Null);
    let err = invalid.body["data"]["err"].as_str().unwrap();
    assert!(err.starts_with("inputs validation error: "), "{err}");
    let big = r#"{"inputs":{"hello":123456789012345678901234567890},"context":{}}"#;
    let big = post(&routes, "/bk_plugin/invoke/1.0.0", big).await;
    assert_eq!(big.body["data"]["outputs"], json!({"world": "123456789012345678901234567890"}));
}

#[tokio::test]
async fn forms_have_neither_inputs_nor_context() {
    let Fixture { routes, .. } = fixture(|_| {});
    for (content_type, body) in [
        ("application/x-www-form-urlencoded", "inputs=%7B%22hello%22%3A%22x%22%7D"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"inputs\"\r\n\r\n{}\r\n--b--\r\n",
        ),
        ("application/x-www-form-urlencoded", ""),
    ] {
        let answer =
            send(&routes, request(Method::POST, "/bk_plugin/invoke/1.0.0", content_type, body)).await;
        assert_eq!((answer.status, &answer.body["data"]["state"]), (200, &json!(5)), "{}", answer.body);
    }
}

#[tokio::test]
async fn bad_input_is_said_in_the_envelope() {
    let Fixture { routes, .. } = fixture(|_| {});
    let deep = "[".repeat(10_000);
    for (content_type, body, status, message) in [
        (
            "application/json",
            "{}",
            400,
            "输入不合法: inputs: this field is required; context: this field is required",
        ),
        (
            "application/json",
            r#"{"context": ["a"]}"#,
            400,
            "输入不合法: inputs: this field is required; context: must be an object, not a list",
        ),
        (
            "application/json",
            r#"{"inputs": null, "context": "{}"}"#,
            400,
            "输入不合法: inputs: must be an object, not null; context: must be an object, not a string",
        ),
        ("application/json", "[1]", 400, "输入不合法: the body must be an object, not a list"),
        ("", "", 400, "输入不合法: inputs: this field is required; context: this field is required"),
        ("application/json", "{not json", 400, "JSON parse error - key must be a string at line 1 column 2"),
        ("application/json", "\u{feff}{}", 400, "JSON parse error - expected value at line 1 column 1"),
        (
            "application/json",
            r#"{"inputs":NaN}"#,
            400,
            "JSON parse error - expected value at line 1 column 11",
        ),
        (
            "application/json",
            &deep,
            400,
            "JSON parse error - it is nested more than 127 levels deep, which is the limit",
        ),
        (
            "",
            ECHO,
            415,
            "the Content-Type must be application/json (or multipart/form-data or application/x-www-form-urlencoded)",
        ),
        (
            "application/xml",
            "<a/>",
            415,
            "the Content-Type must be application/json (or multipart/form-data or application/x-www-form-urlencoded)",
        ),
    ] {
        let answer =
            send(&routes, request(Method::POST, "/bk_plugin/invoke/1.0.0", content_type, body.to_owned()))
                .await;
        assert!(answer.is_failure(status), "{body:.50} {}", answer.body);
        assert_eq!(answer.message(), message);
        assert_eq!(
            answer.body.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["result", "data", "message"]
        );
    }
    let unknown = post(&routes, "/bk_plugin/invoke/9.9.9", ECHO).await;
    assert!(unknown.is_failure(404) && unknown.message().contains("1.0.0"), "{}", unknown.body);
}

#[tokio::test]
async fn every_route_answers_with_and_without_slash_and_behind_a_prefix() {
    let Fixture { routes, .. } = fixture(|_| {});
    for path in [
        "/bk_plugin/meta",
        "/bk_plugin/detail/1.0.0",
        "/bk_plugin/schedule/x",
        "/bk_plugin/logs/x",
        "/bk_plugin/plugin_api/with",
        "/bk_plugin/plugin_api/without",
        "/bk_plugin/openapi",
        "/schema",
        "/swagger",
    ] {
        for path in [path.to_owned(), format!("{path}/"), format!("{path}/?q=1")] {
            assert_eq!(get(&routes, &path).await.status, 200, "{path}");
        }
    }
    for path in ["/prod/bk_plugin/invoke/1.0.0", "/a/b/bk_plugin/invoke/1.0.0/", "/bk_plugin/invoke/1.0.0/"] {
        assert_eq!(post(&routes, path, ECHO).await.body["data"]["state"], json!(4), "{path}");
    }
    let echo = get(&routes, "/prod/bk_plugin/plugin_api/with?a=1").await;
    assert_eq!(echo.body["query"], json!("a=1"));
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let Fixture { routes, .. } = fixture(|_| {});
    for path in ["/", "/nope/", "/bk_plugin/", "/bk_plugin/schedule/", "/bk_plugin/invoke", "/swagger/x"] {
        assert!(get(&routes, path).await.is_failure(404), "{path}");
    }
    for (method, path, allow) in [
        (Method::POST, "/bk_plugin/meta/", "GET,HEAD"),
        (Method::POST, "/bk_plugin/schedule/x", "GET,HEAD"),
        (Method::GET, "/bk_plugin/invoke/1.0.0", "POST"),
        (Method::GET, "/bk_plugin/callback/x/", "POST"),
        (Method::GET, "/bk_plugin/plugin_api_dispatch/", "POST"),
        (Method::DELETE, "/bk_plugin/plugin_api/without/", "GET,HEAD"),
    ] {
        let answer = send(&routes, request(method.clone(), path, "", Body::empty())).await;
        assert!(answer.is_failure(405), "{method} {path} {}", answer.body);
        assert_eq!(answer.headers[ALLOW], allow);
    }
    let head = send(&routes, request(Method::HEAD, "/bk_plugin/meta/", "", Body::empty())).await;
    assert_eq!((head.status, head.body), (200, json!("")));
}

#[tokio::test]
async fn an_author_may_have_a_fallback() {
    let Fixture { routes, .. } = fixture(|_| {});
    assert_eq!(get(&routes, "/bk_plugin/private/there").await.status, 200);
    let own = get(&routes, "/bk_plugin/private/nope").await;
    assert_eq!((own.status, own.body), (404, json!("no such thing")));
    let Fixture { routes, .. } = fixture(|settings| settings.admission = Admission::Gateway(None));
    assert!(get(&routes, "/bk_plugin/private/nope").await.is_failure(403));
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let Fixture { routes, .. } = fixture(|_| {});
    let body = |len: usize| format!("{ECHO}{}", " ".repeat(len - ECHO.len()));
    let limit = ProtocolSettings::BODY_LIMIT;
    assert_eq!(post(&routes, "/bk_plugin/invoke/1.0.0", body(limit)).await.status, 200);
    for path in ["/bk_plugin/invoke/1.0.0", "/bk_plugin/plugin_api_dispatch", "/bk_plugin/plugin_api/with"] {
        for len in [limit + 1, 10 * 1024 * 1024] {
            let answer = post(&routes, path, body(len)).await;
            assert!(answer.is_failure(413) && answer.message().contains("2621440"), "{}", answer.body);
        }
    }
    // A body in chunks does not announce its length.
    let chunks = futures::stream::iter((0..4).map(|_| Ok::<_, Infallible>(" ".repeat(1024 * 1024))));
    let answer = post(&routes, "/bk_plugin/invoke/1.0.0", Body::from_stream(chunks)).await;
    assert!(answer.is_failure(413) && answer.message().contains("2621440"), "{}", answer.body);
}

#[tokio::test]
async fn invoke_reads_what_python_reads() {
    let Fixture { routes, .. } = fixture(|_| {});
    let body = r#"{"inputs": {"hello": "cut \ud83d"}, "context": {"note": ["\udc00", 1e400]}}"#;
    let answer = post(&routes, "/bk_plugin/invoke/1.0.0", body).await;
    assert_eq!(answer.body["data"]["outputs"], json!({"world": "cut \u{fffd}"}), "{}", answer.body);
    // As in the reference, whose parser of requests is stricter than the one of callbacks.
    for body in
        ["{\"inputs\": {\"hello\": NaN}, \"context\": {}}", "\u{feff}{\"inputs\": {}, \"context\": {}}"]
    {
        let answer = post(&routes, "/bk_plugin/invoke/1.0.0", body).await;
        assert!(answer.is_failure(400), "{}", answer.body);
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let answer = post(&routes, "/bk_plugin/invoke/1.0.0", format!("{{\"inputs\": {deep}}}")).await;
    assert!(answer.is_failure(400) && answer.message().contains("127 levels"), "{}", answer.body);
}

#[tokio::test]
async fn panics_and_slow_requests_are_answered() {
    let Fixture { routes, .. } = fixture(|_| {});
    let panic = get(&routes, "/bk_plugin/plugin_api/panic").await;
    assert!(panic.is_failure(500) && !panic.message().contains("boom"), "{}", panic.body);
    let Fixture { routes, .. } = fixture(|settings| settings.request_timeout = Duration::from_millis(50));
    let slow = get(&routes, "/bk_plugin/plugin_api/slow/").await;
    assert!(slow.is_failure(408) && slow.message().contains("0.05 s"), "{}", slow.body);
}

/// The step of 1.10.0 takes 0.1 s.
#[tokio::test(start_paused = true)]
async fn a_slow_upload_takes_no_time_from_the_step() {
    let Fixture { routes, .. } = fixture(|settings| settings.request_timeout = Duration::from_millis(150));
    let upload = |millis| {
        let chunks = futures::stream::iter([r#"{"inputs": "#, "{}, ", r#""context": {}}"#]).then(
            move |chunk| async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok::<_, Infallible>(chunk)
            },
        );
        Body::from_stream(chunks)
    };
    let invoked = post(&routes, "/bk_plugin/invoke/1.10.0", upload(45)).await;
    assert_eq!((invoked.status, &invoked.body["data"]["state"]), (200, &json!(2)), "{}", invoked.body);
    let endless = post(&routes, "/bk_plugin/invoke/1.10.0", upload(1000)).await;
    assert!(endless.is_failure(408) && endless.message().contains("0.15 s"), "{}", endless.body);
}

#[tokio::test]
async fn the_authors_errors_are_answered() {
    let Fixture { routes, .. } = fixture(|_| {});
    let fail = get(&routes, "/bk_plugin/plugin_api/fail").await;
    assert!(fail.is_failure(400) && fail.message() == "no such biz", "{}", fail.body);
    let unexpected = get(&routes, "/bk_plugin/plugin_api/unexpected").await;
    assert!(unexpected.is_failure(500));
    assert_eq!(unexpected.message(), "unknow error, please contact plugin developers: boom");
}

#[tokio::test]
async fn an_invocation_is_scheduled_called_back_and_ends() {
    let Fixture { routes, worker, .. } = fixture(|_| {});
    let invoked = post(&routes, "/bk_plugin/invoke/1.3.0", r#"{"inputs": {}, "context": {}}"#).await;
    assert_eq!(invoked.body["data"]["state"], json!(3));
    let trace_id = invoked.body["trace_id"].as_str().unwrap();
    let schedule = format!("/bk_plugin/schedule/{trace_id}");
    let waiting = get(&routes, &schedule).await;
    let url = waiting.body["data"]["outputs"]["url"].as_str().unwrap();
    assert_ne!(waiting.body["trace_id"], invoked.body["trace_id"], "the request's own id");
    assert_eq!(
        waiting.body["data"],
        json!({
            "trace_id": trace_id,
            "plugin_version": "1.3.0",
            "state": 3,
            "outputs": {"url": url},
            "err": "",
            "created_at": "2027-01-15 16:00:00",
            "finish_at": "",
        })
    );
    let path = url.strip_prefix("http://plugin.test").unwrap();
    for bad in ["", "{bad", "\u{feff}"] {
        let answer = send(&routes, request(Method::POST, path, "", bad)).await;
        assert!(answer.is_failure(400), "{}", answer.body);
    }
    // What some webhooks send: a byte order mark, and numbers that only Python has.
    let body = "\u{feff}[NaN, -Infinity, 1e400]";
    let called = send(&routes, request(Method::POST, path, "text/plain", body)).await;
    assert_eq!((called.status, called.body), (200, json!({"result": true, "message": "callback success"})));
    worker.run().await;
    let ended = get(&routes, &schedule).await;
    assert_eq!(ended.body["data"]["state"], json!(4));
    assert_eq!(ended.body["data"]["finish_at"], json!("2027-01-15 16:00:00"));
    let late = post(&routes, path, "1").await;
    assert_eq!(late.status, 400);
    assert_eq!(
        late.body,
        json!({"result": false, "message": "callback fail,schedule plugin state[4]: is not callback"})
    );
}

#[tokio::test]
async fn a_bad_token_is_not_repeated() {
    let Fixture { routes, .. } = fixture(|_| {});
    let answer = post(&routes, "/bk_plugin/callback/gAAAAAgarbage/", "{}").await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("invalid token") && !answer.message().contains("gAAA"));
    assert_eq!(answer.body.as_object().unwrap().len(), 2);
    let large = post(&routes, "/bk_plugin/callback/x", "1".repeat(ProtocolSettings::BODY_LIMIT + 1)).await;
    assert!(large.is_failure(413), "{}", large.body);
}

#[tokio::test]
async fn an_unknown_schedule_is_status_200() {
    let Fixture { routes, .. } = fixture(|_| {});
    for id in ["x", "00000000000000000000000000000000", "0000000000000000000000000000000G"] {
        let answer = get(&routes, &format!("/bk_plugin/schedule/{id}")).await;
        assert!(answer.is_failure(200), "{}", answer.body);
        assert_eq!(answer.message(), format!("can not find schedule for trace_id {id}"));
        assert_eq!(answer.body["trace_id"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_said_without_its_words() {
    let routes = plugin::fixture_without_store();
    let answer = post(&routes, "/bk_plugin/invoke/1.3.0", r#"{"inputs": {}, "context": {}}"#).await;
    assert!(answer.is_failure(500) && answer.body["trace_id"].is_string(), "{}", answer.body);
    let schedule = get(&routes, "/bk_plugin/schedule/00000000000000000000000000000000").await;
    assert!(schedule.is_failure(503));
    let callback = post(&routes, &plugin::callback_path(), "1").await;
    assert_eq!(callback.status, 503);
    for answer in [answer, schedule, callback] {
        assert!(answer.message().contains("unavailable") && !answer.message().contains("secret host"));
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_end_the_step() {
    let Fixture { routes, worker, .. } = fixture(|_| {});
    let invoke = request(
        Method::POST,
        "/bk_plugin/invoke/1.10.0",
        "application/json",
        r#"{"inputs": {}, "context": {}}"#,
    );
    let hung_up = tokio::time::timeout(Duration::from_millis(20), routes.oneshot(invoke)).await;
    assert!(hung_up.is_err() && worker.records() == 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(worker.records(), 1);
}

#[tokio::test]
async fn in_development_a_jwt_must_be_one() {
    let Fixture { routes, .. } = fixture(|_| {});
    let with = |method: Method, path: &str, jwt: HeaderValue| {
        let mut request = request(method, path, "application/json", ECHO);
        request.headers_mut().insert("X-Bkapi-JWT", jwt);
        request
    };
    let garbage = || HeaderValue::from_static("garbage");
    for path in ["meta", "detail/1.0.0", "schedule/x", "logs/x", "plugin_api/with", "openapi"] {
        let path = format!("/bk_plugin/{path}");
        assert!(send(&routes, with(Method::GET, &path, garbage())).await.is_failure(403), "{path}");
        let expired = send(&routes, with(Method::GET, &path, jwt(r#"{"exp":1}"#))).await;
        assert!(expired.is_failure(403) && expired.message().contains("expired"), "{path}");
        assert_eq!(send(&routes, with(Method::GET, &path, jwt(r#"{"exp":4102444800}"#))).await.status, 200);
    }
    for path in ["/bk_plugin/invoke/1.0.0", "/bk_plugin/plugin_api_dispatch"] {
        assert!(send(&routes, with(Method::POST, path, garbage())).await.is_failure(403), "{path}");
    }
    let callback = send(&routes, with(Method::POST, "/bk_plugin/callback/x", garbage())).await;
    assert_eq!(callback.status, 400);
}

#[tokio::test]
async fn outside_development_calls_must_come_through_the_gateway() {
    let Fixture { routes, .. } = fixture(|settings| settings.admission = Admission::Gateway(None));
    for path in ["invoke/1.0.0", "plugin_api_dispatch", "plugin_api/with", "openapi/", "callback/x"] {
        let path = format!("/bk_plugin/{path}");
        let missing = post(&routes, &path, ECHO).await;
        assert!(missing.is_failure(403) || missing.status == 405, "{path} {}", missing.body);
        if missing.status == 403 {
            assert_eq!(missing.message(), "This API can only be accessed through API gateway");
        }
        let mut request = request(Method::POST, &path, "application/json", ECHO);
        request.headers_mut().insert("X-Bkapi-JWT", jwt(r#"{"exp":4102444800}"#));
        let present = send(&routes, request).await;
        assert!(present.status == 405 || present.message().contains("no gateway public key"), "{path}");
    }
    assert!(get(&routes, "/bk_plugin/openapi/").await.is_failure(403));
    for path in ["meta", "detail/1.0.0", "schedule/x"] {
        assert_eq!(get(&routes, &format!("/bk_plugin/{path}")).await.status, 200);
    }
    assert!(get(&routes, "/bk_plugin/logs/x").await.is_failure(404));
}

#[tokio::test]
async fn logs_of_an_invocation() {
    use tracing_subscriber::layer::SubscriberExt as _;

    let Fixture { routes, log, .. } = fixture(|_| {});
    // For all threads: the step runs on another one.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log)).unwrap();
    let invoked = post(&routes, "/bk_plugin/invoke/1.0.0", ECHO).await;
    let path = format!("/bk_plugin/logs/{}", invoked.body["trace_id"].as_str().unwrap());
    assert_eq!(
        get(&routes, &path).await.body,
        json!({
            "result": true,
            "data": {"log": "DEBUG plugin start execute\nINFO echo says world\nINFO plugin execute success"},
            "message": "",
        })
    );
    let unknown = get(&routes, "/bk_plugin/logs/00000000000000000000000000000000").await;
    assert_eq!(unknown.body, json!({"result": true, "data": {"log": ""}, "message": ""}));
}

#[tokio::test]
async fn the_documents() {
    let Fixture { routes, .. } = fixture(|_| {});
    insta::assert_json_snapshot!("openapi", get(&routes, "/schema/").await.body);
    let page = get(&routes, "/swagger/").await;
    assert_eq!(page.headers[CONTENT_TYPE], "text/html");
    assert!(page.body.as_str().unwrap().contains("swagger-ui.css"));
    let without_slash = get(&routes, "/swagger").await;
    assert!(without_slash.body.as_str().unwrap().contains("<base href=\"swagger/\">"));
    for (file, kind) in [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript")] {
        let file = get(&routes, &format!("/swagger/{file}")).await;
        assert_eq!((file.status, file.headers[CONTENT_TYPE].to_str().unwrap()), (200, kind));
    }
    let initializer = get(&routes, "/swagger/swagger-initializer.js").await;
    assert!(initializer.body.as_str().unwrap().contains("\"../schema/\""), "{}", initializer.body);
}
