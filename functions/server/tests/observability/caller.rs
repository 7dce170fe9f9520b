//! Calls a server as bk-sops does.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::Server;

/// The number of SUCCESS on the wire.
pub(crate) const SUCCESS: u64 = 4;

/// A trace that the caller started.
pub(crate) struct CallersTrace {
    pub(crate) trace_id: &'static str,
    pub(crate) span_id: &'static str,
}

impl CallersTrace {
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}

pub(crate) async fn invoke(server: &Server, version: &str, inputs: Value) -> Value {
    invoke_in(server, version, inputs, None).await
}

/// Invokes within the caller's trace.
pub(crate) async fn invoke_in(
    server: &Server,
    version: &str,
    inputs: Value,
    trace: Option<&CallersTrace>,
) -> Value {
    let url = format!("http://127.0.0.1:{}/bk_plugin/invoke/{version}", server.port);
    let mut request =
        client().post(url).json(&json!({ "inputs": inputs, "context": { "executor": "admin" } }));
    if let Some(trace) = trace {
        request = request.header("traceparent", trace.traceparent());
    }
    request.send().await.unwrap().json().await.unwrap()
}

/// Calls `schedule` until the invocation has ended in SUCCESS.
pub(crate) async fn succeeded(server: &Server, trace_id: &str) {
    let url = format!("http://127.0.0.1:{}/bk_plugin/schedule/{trace_id}", server.port);
    eventually(|| async {
        let answer: Value = client().get(&url).send().await.unwrap().json().await.unwrap();
        answer["data"]["state"].as_u64().filter(|state| *state == SUCCESS)
    })
    .await;
}

/// Calls `look` until it finds something, for a limited time.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn client() -> reqwest::Client {
    bk_plugin_service::tls::install();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
