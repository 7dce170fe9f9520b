//! A caller of the deployed plugin.

use std::time::{Duration, Instant};

use bk_plugin_core::clock::{Clock as _, SystemClock};
use bk_plugin_core::ids::{CallbackId, TraceId};
use bk_plugin_engine::callback_token::CallbackKeys;
use serde_json::{Value, json};

/// The longest wait for a state that comes without a request. It is long because the emulator runs one event
/// at a time.
const LONGEST_WAIT: Duration = Duration::from_mins(3);

/// Calls the plugin.
#[derive(Clone)]
pub(crate) struct Plugin {
    client: reqwest::Client,
    base_url: String,
}

impl Plugin {
    pub(crate) fn new(base_url: &str) -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        Self { client, base_url: base_url.to_owned() }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), String> {
        let url = format!("{}/bk_plugin/{path}", self.base_url);
        let sent = self.client.post(url).json(body).send().await;
        answer(sent.map_err(|error| format!("{path}: {error:?}"))?).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(u16, Value), String> {
        let url = format!("{}/{path}", self.base_url);
        let sent = self.client.get(url).send().await;
        answer(sent.map_err(|error| format!("{path}: {error:?}"))?).await
    }

    /// Begins an invocation that does not end at once, and returns its trace_id.
    pub(crate) async fn invoke(
        &self,
        version: &str,
        inputs: Value,
        context: Value,
    ) -> Result<String, String> {
        let body = json!({ "inputs": inputs, "context": context });
        let (status, answer) = self.post(&format!("invoke/{version}"), &body).await?;
        let waits = answer["data"]["state"] == 2 || answer["data"]["state"] == 3;
        if status != 200 || !waits {
            return Err(format!("invoke {version}: {status} {answer}"));
        }
        Ok(answer["trace_id"].as_str().unwrap_or_default().to_owned())
    }

    /// Calls `schedule`, and returns the data of its answer.
    pub(crate) async fn schedule(&self, trace_id: &str) -> Result<Value, String> {
        let (status, answer) = self.get(&format!("bk_plugin/schedule/{trace_id}")).await?;
        if status != 200 {
            return Err(format!("schedule: {status} {answer}"));
        }
        Ok(answer["data"].clone())
    }

    /// Waits until the invocation is in `state` and its data satisfies `fits`.
    pub(crate) async fn until(
        &self,
        trace_id: &str,
        state: u8,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            let data = self.schedule(trace_id).await?;
            if data["state"] == state && fits(&data) {
                return Ok(data);
            }
            let is_over = data["state"] == 4 || data["state"] == 5;
            if is_over || began.elapsed() > LONGEST_WAIT {
                return Err(format!("not in state {state}, or not as it should be: {data}"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Calls back an invocation, with a token minted by the test.
    pub(crate) async fn call_back(&self, trace_id: &str, data: &Value) -> Result<(u16, Value), String> {
        let keys = CallbackKeys::new(conformance::APP_SECRET, &[], Duration::from_hours(1)).unwrap();
        let trace_id = TraceId::parse(trace_id).map_err(|error| error.to_string())?;
        let token = keys.mint(&CallbackId::random(), &trace_id, SystemClock.now());
        self.post(&format!("callback/{token}/"), data).await
    }
}

async fn answer(response: reqwest::Response) -> Result<(u16, Value), String> {
    let status = response.status().as_u16();
    let text = response.text().await.map_err(|error| error.to_string())?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}
