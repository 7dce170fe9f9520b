//! Callbacks that no invocation waits for: too early, while it polls, or after its end.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::common::{Mode, Running, mint_token};

struct Caller {
    running: Running,
    client: reqwest::Client,
}

impl Caller {
    async fn start() -> Self {
        Self { running: common::start(Mode::Development).await, client: common::client() }
    }

    /// Sends a POST; returns status and body of the answer.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/bk_plugin/{path}", self.running.base_url);
        let response = self.client.post(url).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn invoke(&self, version: &str, inputs: Value) -> (String, Value) {
        let body = json!({"inputs": inputs, "context": {"executor": "admin"}});
        let (status, answer) = self.post(&format!("invoke/{version}"), &body).await;
        assert_eq!(status, 200, "{answer}");
        (answer["trace_id"].as_str().unwrap().to_owned(), answer["data"].clone())
    }

    async fn schedule(&self, trace_id: &str) -> Value {
        let url = format!("{}/bk_plugin/schedule/{trace_id}", self.running.base_url);
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        answer["data"].clone()
    }

    /// Waits until the invocation is in `state`.
    async fn until(&self, trace_id: &str, state: u8) -> Value {
        let begun = Instant::now();
        loop {
            let data = self.schedule(trace_id).await;
            if data["state"] == state {
                return data;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "not in state {state}: {data}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Calls back with a token minted by the test, as if `age` seconds ago.
    async fn call(&self, trace_id: &str, age: u64, body: &Value) -> (u16, Value) {
        let token = mint_token(&format!("{}:{trace_id}", "d".repeat(32)), age);
        self.post(&format!("callback/{token}/"), body).await
    }
}

fn accepted() -> (u16, Value) {
    (200, json!({"result": true, "message": "callback success"}))
}

fn refused((status, body): &(u16, Value)) -> bool {
    let says = body["message"].as_str().is_some_and(|text| text.starts_with("callback fail"));
    *status == 400 && body["result"] == false && says
}

#[tokio::test]
async fn a_callback_while_it_polls_is_accepted_and_changes_nothing() {
    let caller = Caller::start().await;
    let (trace_id, data) = caller.invoke("1.2.0", json!({"times": 1, "interval": 2})).await;
    assert_eq!(data["state"], 2);
    assert_eq!(caller.call(&trace_id, 0, &json!({"x": 1})).await, accepted());
    let data = caller.until(&trace_id, 4).await;
    let states: Vec<&Value> =
        data["outputs"]["ticks"].as_array().unwrap().iter().map(|tick| &tick["state"]).collect();
    assert_eq!(states, ["EMPTY", "POLL"]);
}

#[tokio::test]
async fn a_callback_while_it_polls_is_kept_for_the_step_that_waits() {
    let caller = Caller::start().await;
    let (trace_id, _) = caller.invoke("1.6.0", json!({"path": "poll,callback,end"})).await;
    assert_eq!(caller.call(&trace_id, 0, &json!({"early": true})).await, accepted());
    let data = caller.until(&trace_id, 4).await;
    assert_eq!(
        data["outputs"]["trail"],
        json!([[1, "EMPTY", "poll"], [2, "POLL", "callback"], [3, "CALLBACK", "end"]])
    );
}

#[tokio::test]
async fn a_callback_before_its_first_step_has_ended_is_kept() {
    let caller = Caller::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callback.json");
    let inputs = json!({"url_file": file, "sleep_after_prepare": 1.0});
    let early = async {
        let begun = Instant::now();
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "no callback was prepared");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let prepared: Value = serde_json::from_str(&text).unwrap();
        let url = prepared["url"].as_str().unwrap();
        let token = url.trim_end_matches('/').rsplit('/').next().unwrap();
        caller.post(&format!("callback/{token}/"), &json!({"early": true})).await
    };
    let ((trace_id, data), answer) = futures::join!(caller.invoke("1.3.0", inputs), early);
    assert_eq!(answer, accepted());
    assert_eq!(data["state"], 3);
    let data = caller.until(&trace_id, 4).await;
    let callback = &data["outputs"]["callbacks"][0];
    assert_eq!((&callback["is_mine"], &callback["data"]), (&json!(true), &json!({"early": true})));
}

#[tokio::test]
async fn a_finished_invocation_answers_400() {
    let caller = Caller::start().await;
    for (path, state) in [("poll,end", 4), ("poll,fail", 5)] {
        let (trace_id, _) = caller.invoke("1.6.0", json!({"path": path})).await;
        caller.until(&trace_id, state).await;
        for age in [0, 3600] {
            let answer = caller.call(&trace_id, age, &json!({})).await;
            assert!(refused(&answer), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_old_token_of_no_invocation_answers_400() {
    let caller = Caller::start().await;
    let answer = caller.call(&"e".repeat(32), 3600, &json!({})).await;
    assert!(refused(&answer), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_is_not_json_answers_400() {
    let caller = Caller::start().await;
    let (trace_id, data) = caller.invoke("1.3.0", json!({})).await;
    let url = data["outputs"]["callback_url"].as_str().unwrap();
    let token = url.trim_end_matches('/').rsplit('/').next().unwrap();
    let url = format!("{}/bk_plugin/callback/{token}/", caller.running.base_url);
    let answer = caller.client.post(url).body("{not json").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(caller.schedule(&trace_id).await["state"], 3, "it still waits");
}
