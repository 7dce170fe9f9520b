//! Polls the number of times in its inputs; storage and outputs grow.

use std::time::Duration;

use bk_plugin_kit::prelude::*;
use serde_json::json;

use super::Executor;
use crate::outputs::Loose;
use crate::state_name;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    times: u32,
    interval: u64,
    /// success | fail | crash
    end: String,
    sleep: f64,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { times: 3, interval: 1, end: "success".to_owned(), sleep: 0.0 }
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Storage {
    seen: Vec<String>,
}

#[derive(JsonSchema)]
pub struct Outputs {
    #[schemars(default)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    ticks: Vec<Value>,
}

pub struct Poll;

impl Plugin for Poll {
    const META: Meta = Meta::version("1.2.0").desc("wait_poll N times, storage and outputs grow");
    type Inputs = Inputs;
    type Context = Context<Loose<Outputs>, Storage, Executor>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        tokio::time::sleep(Duration::try_from_secs_f64(inputs.sleep)?).await;
        let (state, invoke_count) = (state_name(&cx.event()), cx.invoke_count());
        cx.storage.seen.push(state.to_owned());
        let storage_n = cx.storage.seen.len();
        // A change to the context must not last.
        cx.data.executor.push('+');
        let outputs = cx.outputs.edit();
        outputs.push("ticks", json!({"state": state, "invoke_count": invoke_count, "storage_n": storage_n}));
        outputs.set("executor_seen", cx.data.executor.clone());
        tracing::info!("tick {invoke_count}");
        if invoke_count <= inputs.times {
            return Ok(Next::poll(secs(inputs.interval)));
        }
        match inputs.end.as_str() {
            "fail" => fail!("poll end fail"),
            "crash" => unexpected!("poll end crash"),
            _ => Ok(Next::done()),
        }
    }
}
