//! For measurements: polls the number of times in its inputs, and keeps the time of each run.

use std::time::{SystemTime, UNIX_EPOCH};

use bk_plugin_kit::prelude::*;

use crate::outputs::Loose;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    interval: u64,
    times: u32,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { interval: 0, times: 1 }
    }
}

pub struct Bench;

impl Plugin for Bench {
    const META: Meta = Meta::version("9.0.0").desc("bench: one wait_poll(interval), then success");
    type Inputs = Inputs;
    type Context = Context<Loose<Empty>>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        cx.outputs.edit().push("ticks", now);
        let more = cx.invoke_count() <= inputs.times;
        Ok(if more { Next::poll(secs(inputs.interval)) } else { Next::done() })
    }
}
