//! The client against a server on a port of this machine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Redirect;
use axum::routing::{any, get};
use bk_plugin_kit::http::{Client, Error, ErrorKind, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What no text may hold: it is in every address, header and body of these tests.
const SECRET: &str = "hunter2";

/// Serves until the test's runtime ends; the address begins with `http://`, and a user and a password.
async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{SECRET}:{SECRET}@{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// The scheme, host and port of an address that [`serve`] returned.
fn origin(url: &str) -> String {
    format!("http://{}", url.split_once('@').unwrap().1)
}

/// The error of a call with the secret in all its parts, and its text without its beginning `GET <origin>: `.
async fn failed(client: &Client, url: &str, path: &str) -> (Error, String) {
    let request = client.get(format!("{url}{path}?token={SECRET}#{SECRET}"));
    let request =
        request.query(&[("password", SECRET)]).header("X-Token", SECRET).bearer(SECRET).body(SECRET);
    assert!(!format!("{request:?} {client:?}").contains(SECRET));
    let answer = async { request.send().await?.error_for_status()?.json::<u8>().await };
    let error = answer.await.unwrap_err();
    assert!(!format!("{error} {error:?} {error:#?}").contains(SECRET), "{error:?}");
    let text = error.to_string();
    let rest = text.strip_prefix(&format!("GET {}: ", origin(url))).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(rest, error.kind().to_string());
    (error.clone(), rest.to_owned())
}

#[tokio::test]
async fn every_part_of_a_request_arrives() {
    async fn echo(request: Request) -> String {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1000).await.unwrap();
        let of = |name| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
        let (kind, user) = (of(header::CONTENT_TYPE), of(header::AUTHORIZATION));
        let tenant = parts
            .headers
            .get("x-bk-tenant-id")
            .map_or("", |value| std::str::from_utf8(value.as_bytes()).unwrap());
        json!([
            parts.method.as_str(),
            parts.uri.to_string(),
            kind,
            user,
            tenant,
            String::from_utf8_lossy(&body)
        ])
        .to_string()
    }
    let url = origin(&serve(Router::new().fallback(echo)).await);
    let client = Client::new();
    let form = BTreeMap::from([("name", "a b")]);
    for (request, arrives) in [
        (
            client.get(format!("{url}/a")).query(&[("name", "重启 1")]).bearer("t"),
            json!(["GET", "/a?name=%E9%87%8D%E5%90%AF+1", "", "Bearer t", "", ""]),
        ),
        (
            client.post(&url).json(&json!({"a": 1})),
            json!(["POST", "/", "application/json", "", "", "{\"a\":1}"]),
        ),
        (
            client.put(&url).form(&form),
            json!(["PUT", "/", "application/x-www-form-urlencoded", "", "", "name=a+b"]),
        ),
        (
            client.patch(&url).header(header::CONTENT_TYPE, "text/plain").body("text"),
            json!(["PATCH", "/", "text/plain", "", "", "text"]),
        ),
        (client.delete(&url).header("X-Bk-Tenant-Id", "王五"), json!(["DELETE", "/", "", "", "王五", ""])),
        (client.request(Method::OPTIONS, &url), json!(["OPTIONS", "/", "", "", "", ""])),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), arrives);
    }
}

#[tokio::test]
async fn an_answer_is_read_as_it_is_asked_for() {
    let routes = Router::new().fallback(async || ([("X-Pages", "3")], "{\"id\": 7}"));
    let url = serve(routes).await;
    let client = Client::new();
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["x-pages"]), (StatusCode::OK, &"3".parse().unwrap()));
    assert_eq!(answer.text().await.unwrap(), "{\"id\": 7}");
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), b"{\"id\": 7}");
    let answer = client.get(&url).send().await.unwrap();
    assert!(!format!("{answer:?}").contains(SECRET));
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"id": 7}));
}

#[tokio::test]
async fn silence_ends_with_the_time_out() {
    let routes = Router::new().route("/silent", get(std::future::pending::<()>)).route(
        "/stops",
        get(async || {
            let begun = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from("[1"))]);
            Body::from_stream(futures::StreamExt::chain(begun, futures::stream::pending()))
        }),
    );
    let url = serve(routes).await;
    let impatient = Client::builder().timeout(Duration::from_millis(100)).build();
    for path in ["/silent", "/stops"] {
        let (error, text) = failed(&impatient, &url, path).await;
        assert_eq!(text, "no answer in time");
        assert!(error.is_timeout() && error.may_pass());
    }
    // One call may be given less time than its client.
    let request = Client::new().get(format!("{url}/silent")).timeout(Duration::from_millis(100));
    assert!(request.send().await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn a_refused_connection_is_said_with_its_reason() {
    let url = format!("http://{SECRET}:{SECRET}@127.0.0.1:1");
    let (error, text) = failed(&Client::new(), &url, "/").await;
    assert!(matches!(error.kind(), ErrorKind::Unreachable(_)) && error.may_pass() && !error.is_timeout());
    assert!(text.starts_with("cannot be reached: Connection refused"), "{text}");
}

#[tokio::test]
async fn an_address_that_is_not_valid_is_not_repeated() {
    for url in ["jobs/hunter2", "http://hunter2:x@[", "mailto:hunter2", "unix:/hunter2"] {
        let error = Client::new().get(url).send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Request(_)) && !error.may_pass());
        assert!(error.to_string().starts_with("GET (not a valid address): cannot be sent: "), "{error}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
    let client = Client::new();
    let request = client.get("http://127.0.0.1:1").header("X-Token", "hunter2\n");
    let error = request.send().await.unwrap_err();
    assert_eq!(error.to_string(), "GET http://127.0.0.1:1: cannot be sent: failed to parse header value");
}

#[tokio::test]
async fn a_status_other_than_2xx_is_an_error_for_those_who_ask() {
    let with = |status: StatusCode| any(async move || (status, SECRET));
    let routes = Router::new()
        .route("/401", with(StatusCode::UNAUTHORIZED))
        .route("/429", with(StatusCode::TOO_MANY_REQUESTS))
        .route("/503", with(StatusCode::SERVICE_UNAVAILABLE));
    let url = serve(routes).await;
    for (path, status, may_pass) in [
        ("/401", "401 Unauthorized", false),
        ("/429", "429 Too Many Requests", true),
        ("/503", "503 Service Unavailable", true),
    ] {
        let (error, text) = failed(&Client::new(), &url, path).await;
        assert_eq!(text, format!("answered with HTTP {status}"));
        assert_eq!(error.status().unwrap().to_string(), status);
        assert_eq!(error.may_pass(), may_pass);
        let answer = Client::new().get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), SECRET, "the body is for who asks");
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = serve(Router::new().fallback(async || "0")).await;
    let to = format!("{elsewhere}/?token={SECRET}");
    let routes = Router::new()
        .route("/here", get(async || Redirect::permanent("/there")))
        .route("/away", get(async move || Redirect::temporary(&to)))
        .route("/there", get(async || "0"));
    let url = serve(routes).await;
    for (path, status) in [("/here", 308), ("/away", 307)] {
        let (error, text) = failed(&Client::new(), &url, path).await;
        assert!(text.starts_with(&format!("answered with HTTP {status}")), "{text}");
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn json_that_does_not_fit_is_said_without_what_it_holds() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read only")]
    struct Job {
        #[serde(deserialize_with = "even")]
        id: u8,
    }
    fn even<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("{text} is not even")))
    }
    let routes = Router::new().fallback(async |body: String| body);
    let url = origin(&serve(routes).await);
    for (body, reason) in [
        ("<html>hunter2", "expected value at line 1 column 1"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{}", "missing field `id` at line 1 column 2"),
        ("{\"id\": 7}", "invalid type: integer, expected a string at line 1 column 8"),
        ("{\"hunter2\": 1}", "a value does not fit at line 1 column 10"),
        ("{\"id\": \"hunter2\"}", "a value does not fit at line 1 column 17"),
    ] {
        let answer = Client::new().post(&url).body(body).send().await.unwrap();
        let error = answer.json::<Job>().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        let said = format!("POST {url}: the answer is not the JSON that is expected: {reason}");
        assert_eq!(error.to_string(), said);
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let endless =
        || Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(SECRET))));
    let routes = Router::new()
        .route("/ten", get(async || "1234567890"))
        .route("/eleven", get(async || "12345678901"))
        .route("/endless", get(async move || endless()));
    let url = serve(routes).await;
    let client = Client::builder().largest_answer(10).build();
    assert_eq!(client.get(format!("{url}/ten")).send().await.unwrap().text().await.unwrap(), "1234567890");
    for path in ["/eleven", "/endless"] {
        let (error, text) = failed(&client, &url, path).await;
        assert_eq!(text, "the answer has more than 10 bytes");
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_may_come_whole_the_next_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{SECRET}:{SECRET}@{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhunter2").await;
    });
    let (error, text) = failed(&Client::new(), &url, "/").await;
    assert!(matches!(error.kind(), ErrorKind::Body(_)) && error.may_pass());
    assert_eq!(text, "the answer broke off: end of file before message length reached");
}
