//! The plugin against a stand-in for bk-sops on a port of this machine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as With;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use bk_plugin_kit::prelude::*;
use bk_plugin_testing::{Harness, Run, State};
use serde_json::json;
use tokio::net::TcpListener;

use super::SopsExec;
use super::sops_client::SopsClient;

/// What the stand-in was asked: method, path, header, body.
type Asked = (String, String, Value, Value);

/// Answers what it was told to, in that order, and keeps what it was asked.
#[derive(Clone, Default)]
struct Sops {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Sops {
    fn will_answer(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let sops = Self::default();
        sops.answers.lock().unwrap().extend(answers);
        sops
    }

    /// Serves on a free port; the address is that of the API.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/bk-sops/prod", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The methods and calls it was asked, without their ids.
    fn calls(&self) -> Vec<String> {
        let call = |path: &str| path.split('/').nth(4).unwrap_or_default().to_owned();
        self.asked().iter().map(|(method, path, ..)| format!("{method} {}", call(path))).collect()
    }
}

async fn answer(
    With(sops): With<Sops>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let who = headers
        .get("x-bkapi-authorization")
        .map_or(Value::Null, |who| serde_json::from_slice(who.as_bytes()).unwrap_or_default());
    let body = serde_json::from_slice(&body).unwrap_or_default();
    sops.asked.lock().unwrap().push((method.to_string(), uri.path().to_owned(), who, body));
    let next = sops.answers.lock().unwrap().pop_front();
    match next {
        // It never answers again.
        None => std::future::pending().await,
        Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body.to_string()),
    }
}

fn created() -> (u16, Value) {
    let task = json!({"task_id": 42, "task_url": "http://sops/task/42", "pipeline_tree": {}});
    (200, json!({"result": true, "data": task, "message": "", "code": 0}))
}

fn started() -> (u16, Value) {
    (200, json!({"result": true, "data": {}, "message": "success"}))
}

fn is(state: &str) -> (u16, Value) {
    (200, json!({"result": true, "data": {"state": state, "name": "<class>"}, "message": ""}))
}

fn broken() -> (u16, Value) {
    (500, json!("<html>"))
}

fn environment(url: &str) -> impl Fn(&str) -> Option<String> {
    move |name| match name {
        "BKSOPS_API_APP_CODE" => Some("bk-plugin-demo".to_owned()),
        "BKSOPS_API_APP_SECRET" => Some("the secret".to_owned()),
        "BKSOPS_API_URL" => Some(format!("{url}/")),
        _ => None,
    }
}

fn context() -> SopsContext {
    SopsContext { bk_biz_id: 2, executor: "王五".to_owned(), ..SopsContext::default() }
}

async fn invoke_with(sops: SopsClient) -> Run {
    let inputs = json!({"template_id": 7, "task_name": "重启", "constants": {"${ip}": "10.0.0.1"}});
    Harness::new(SopsExec { sops }).unwrap().invoke(inputs, context()).await
}

async fn invoke(sops: &Sops) -> Run {
    let url = sops.serve().await;
    invoke_with(SopsClient::from_env(environment(&url)).unwrap()).await
}

#[tokio::test]
async fn creates_starts_and_polls_a_task() {
    let sops = Sops::will_answer([
        created(),
        is("CREATED"),
        started(),
        is("RUNNING"),
        is("SUSPENDED"),
        is("FINISHED"),
    ]);
    let mut run = invoke(&sops).await;
    assert_eq!(run.state(), State::Poll);
    assert_eq!(run.outputs(), &json!({"task_id": 42, "task_url": "http://sops/task/42"}));
    assert_eq!(sops.calls(), ["POST create_task", "GET get_task_status", "POST start_task"]);
    run.advance(secs(14)).await;
    assert_eq!(run.state(), State::Poll);
    run.advance(secs(1)).await;
    assert_eq!(run.state(), State::Success);
    assert_eq!(run.outputs(), &json!({"task_id": 42, "task_url": "http://sops/task/42"}));

    let who = json!({
        "bk_app_code": "bk-plugin-demo", "bk_app_secret": "the secret", "bk_username": "王五",
    });
    let asked = sops.asked();
    let asked_for = |method: &str, path: &str, body| {
        (method.to_owned(), format!("/api/bk-sops/prod/{path}"), who.clone(), body)
    };
    let task = json!({"name": "重启", "constants": {"${ip}": "10.0.0.1"}});
    assert_eq!(asked[0], asked_for("POST", "create_task/7/2/", task));
    assert_eq!(asked[1], asked_for("GET", "get_task_status/42/2/", Value::Null));
    assert_eq!(asked[2], asked_for("POST", "start_task/42/2/", json!({})));
}

#[tokio::test]
async fn a_task_that_is_started_is_not_started_again() {
    // The process died between starting the task and writing that it had.
    let sops = Sops::will_answer([created(), is("RUNNING"), is("FINISHED")]);
    let mut run = invoke(&sops).await;
    run.advance(secs(5)).await;
    assert_eq!(run.state(), State::Success);
    assert_eq!(sops.calls(), ["POST create_task", "GET get_task_status", "GET get_task_status"]);
}

#[tokio::test]
async fn a_task_that_ends_badly_fails_in_words() {
    for state in ["FAILED", "REVOKED"] {
        let sops = Sops::will_answer([created(), is("CREATED"), started(), is(state)]);
        let mut run = invoke(&sops).await;
        run.advance(secs(5)).await;
        assert_eq!(run.state(), State::Fail);
        assert!(run.err().ends_with(&format!("task 42 ended in {state}")), "{}", run.err());
        assert_eq!(run.outputs()["task_id"], 42, "where to look is kept");
    }
}

#[tokio::test]
async fn what_bk_sops_refuses_is_said() {
    let sops = Sops::will_answer([(200, json!({"result": false, "data": null, "message": "模板不存在"}))]);
    let run = invoke(&sops).await;
    assert_eq!(run.state(), State::Fail);
    assert!(run.err().ends_with("bk-sops refused create_task: 模板不存在"), "{}", run.err());
}

#[tokio::test]
async fn an_error_of_the_gateway_ends_the_first_step() {
    let run = invoke(&Sops::will_answer([broken()])).await;
    assert_eq!(run.state(), State::Fail);
    let said = "bk-sops, create_task: answered with HTTP 500 Internal Server Error";
    assert!(run.err().ends_with(said), "{}", run.err());
}

#[tokio::test]
async fn a_poll_that_is_not_answered_is_tried_again() {
    let sops = Sops::will_answer([created(), broken(), (429, Value::Null), is("FINISHED")]);
    let mut run = invoke(&sops).await;
    run.advance(secs(5)).await;
    assert_eq!(run.state(), State::Poll);
    run.advance(secs(5)).await;
    assert_eq!(run.state(), State::Success);
}

#[tokio::test]
async fn a_start_that_is_not_answered_is_tried_again_if_it_did_not_work() {
    let sops =
        Sops::will_answer([created(), is("CREATED"), broken(), is("CREATED"), started(), is("FINISHED")]);
    let mut run = invoke(&sops).await;
    run.advance(secs(10)).await;
    assert_eq!(run.state(), State::Success);

    let sops = Sops::will_answer([created(), is("CREATED"), broken(), is("RUNNING"), is("FINISHED")]);
    let mut run = invoke(&sops).await;
    run.advance(secs(10)).await;
    assert_eq!(run.state(), State::Success);
}

#[tokio::test]
async fn polls_that_are_never_answered_end_in_fail() {
    let sops = Sops::will_answer([created()].into_iter().chain((0..6).map(|_| broken())));
    let mut run = invoke(&sops).await;
    run.advance(secs(24)).await;
    assert_eq!(run.state(), State::Poll);
    run.advance(secs(1)).await;
    assert_eq!(run.state(), State::Fail);
    assert!(run.err().contains("get_task_status: answered with HTTP 500"), "{}", run.err());
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_not_asked_for_again() {
    let mut run = invoke(&Sops::will_answer([created(), is("WHATEVER")])).await;
    run.advance(secs(60)).await;
    assert_eq!(run.state(), State::Fail);
    assert!(run.err().contains("answer to get_task_status was not understood"), "{}", run.err());
}

#[tokio::test]
async fn silence_is_not_waited_for_forever() {
    let url = Sops::default().serve().await;
    let client = SopsClient::from_env(environment(&url)).unwrap();
    let run = invoke_with(client.with_timeout(Duration::from_millis(50))).await;
    assert_eq!(run.state(), State::Fail);
    assert!(run.err().contains("bk-sops, create_task: no answer in time"), "{}", run.err());
}

#[tokio::test]
async fn a_refused_connection_is_said_without_the_address() {
    let run = invoke_with(SopsClient::from_env(environment("http://127.0.0.1:1")).unwrap()).await;
    assert_eq!(run.state(), State::Fail);
    assert!(run.err().contains("bk-sops, create_task: cannot be reached"), "{}", run.err());
    assert!(run.err().contains("refused"), "why it could not be: {}", run.err());
    assert!(!run.err().contains("127.0.0.1"), "{}", run.err());
}

#[test]
fn a_variable_that_is_missing_is_named() {
    for name in ["BKSOPS_API_APP_CODE", "BKSOPS_API_APP_SECRET", "BKSOPS_API_URL"] {
        let all = environment("http://127.0.0.1:1");
        let said =
            SopsClient::from_env(|asked| all(asked).filter(|_| asked != name)).unwrap_err().to_string();
        assert_eq!(said, format!("the environment variable {name} is not set"));
    }
}

#[test]
fn the_secret_is_not_printed() {
    let client = SopsClient::from_env(environment("http://sops")).unwrap();
    assert!(!format!("{client:?}").contains("the secret"));
}
