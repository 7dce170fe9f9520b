//! Bad input over real connections: each request gets the protocol's status and a message that says what is
//! wrong, and the server keeps running.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::Server;
use serde_json::{Value, json};

/// POSTs to a running server.
trait Post {
    fn post(&self, path: &str, body: &[u8]) -> (u16, Value);
    fn echo_works(&self);
}

impl Post for Server {
    /// POSTs `body` as JSON on a connection of its own.
    fn post(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A client that sends its whole request before it reads must get the answer too.
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}")))
    }

    fn echo_works(&self) {
        let body = json!({"inputs": {"hello": "world"}, "context": {"executor": "admin"}}).to_string();
        let (status, answer) = self.post("/bk_plugin/invoke/1.0.0", body.as_bytes());
        assert_eq!((status, &answer["data"]["state"]), (200, &json!(4)), "{answer}");
    }
}

#[test]
fn each_bad_input_has_its_status_and_its_words() {
    let server = Server::start();
    let nested = |depth: usize| {
        format!(r#"{{"inputs": {}1{}, "context": {{}}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    let large = format!(r#"{{"inputs": {{"hello": "{}"}}, "context": {{}}}}"#, "x".repeat(10 * 1024 * 1024));
    let deep = nested(10_000);
    let cases: &[(&str, &str, u16, &[&str])] = &[
        ("1.0.0", "{not json", 400, &["JSON parse error"]),
        ("1.0.0", r#"[{"inputs": {}, "context": {}}]"#, 400, &["输入不合法: "]),
        ("1.0.0", "{}", 400, &["输入不合法: ", "inputs", "context"]),
        ("1.0.0", r#"{"inputs": "x", "context": []}"#, 400, &["输入不合法: ", "inputs", "context"]),
        ("1.0.0", r#"{"inputs": {"hello": NaN}, "context": {}}"#, 400, &["JSON parse error"]),
        ("1.0.0", &large, 413, &["2621440"]),
        ("1.0.0", &deep, 400, &["JSON parse error"]),
        ("9.9.9", r#"{"inputs": {}, "context": {}}"#, 404, &["9.9.9"]),
    ];
    for (version, body, status, words) in cases {
        let (answered, answer) = server.post(&format!("/bk_plugin/invoke/{version}"), body.as_bytes());
        assert_eq!(answered, *status, "{answer} for {}", &body[..body.len().min(80)]);
        assert_eq!(answer["result"], false);
        for word in *words {
            assert!(answer["message"].as_str().unwrap().contains(word), "{word} in {answer}");
        }
        server.echo_works();
    }
}

#[test]
fn inputs_that_do_not_validate_end_in_fail_and_name_every_field() {
    let server = Server::start();
    let body = json!({"inputs": {"template_id": "many", "task_name": [1]}, "context": {}}).to_string();
    let (status, answer) = server.post("/bk_plugin/invoke/2.0.0", body.as_bytes());
    assert_eq!((status, &answer["data"]["state"]), (200, &json!(5)), "{answer}");
    let err = answer["data"]["err"].as_str().unwrap();
    assert!(err.starts_with("inputs validation error: "), "{err}");
    assert!(err.contains("template_id") && err.contains("task_name"), "{err}");
}

#[test]
fn bad_callbacks_are_refused_without_repeating_the_token() {
    let server = Server::start();
    let (status, answer) = server.post("/bk_plugin/callback/gAAAAABsecret/", b"{}");
    assert_eq!((status, &answer["result"]), (400, &json!(false)));
    let message = answer["message"].as_str().unwrap();
    assert!(message.starts_with("invalid token") && !message.contains("gAAAAAB"), "{message}");
}
