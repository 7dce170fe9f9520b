//! Waits for the number of callbacks in its inputs; the URL and its id are in the outputs.

use std::path::Path;
use std::time::Duration;

use bk_plugin_kit::prelude::*;
use serde_json::json;

use super::Executor;
use crate::outputs::Loose;
use crate::state_name;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    need: usize,
    sleep_after_prepare: f64,
    tick_sleep: f64,
    url_file: String,
    end: String,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            need: 1,
            sleep_after_prepare: 0.0,
            tick_sleep: 0.0,
            url_file: String::new(),
            end: "success".to_owned(),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Storage {
    cb_id: Option<CallbackId>,
}

#[derive(JsonSchema)]
pub struct Outputs {
    #[schemars(default)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    callbacks: Vec<Value>,
}

pub struct CallbackPlugin;

impl Plugin for CallbackPlugin {
    const META: Meta = Meta::version("1.3.0")
        .desc("wait_callback, `need` callbacks in all; url and id are given in outputs");
    type Inputs = Inputs;
    type Context = Context<Loose<Outputs>, Storage, Executor>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let Event::Called(call) = cx.event() else {
            let prepared = cx.prepare_callback();
            hand_out(&inputs.url_file, &json!({"url": prepared.url, "trace_id": cx.trace_id()}))?;
            let outputs = cx.outputs.edit();
            outputs.set("callback_url", prepared.url);
            outputs.set("callback_id", prepared.id.as_str());
            cx.storage.cb_id = Some(prepared.id);
            tokio::time::sleep(Duration::try_from_secs_f64(inputs.sleep_after_prepare)?).await;
            return Ok(Next::callback());
        };
        tokio::time::sleep(Duration::try_from_secs_f64(inputs.tick_sleep)?).await;
        let seen = json!({
            "state": state_name(&cx.event()),
            "invoke_count": cx.invoke_count(),
            "is_mine": cx.storage.cb_id.as_ref() == Some(call.id()),
            "data": call.data(),
        });
        if cx.outputs.edit().push("callbacks", seen) < inputs.need {
            return Ok(Next::callback());
        }
        match inputs.end.as_str() {
            "fail" => fail!("callback end fail"),
            // With the quotes that Python puts around the key of a KeyError.
            "crash" => unexpected!("'callback end crash'"),
            _ => Ok(Next::done()),
        }
    }
}

/// Writes a callback to a file, where a test finds it before the step has ended.
fn hand_out(file: &str, callback: &Value) -> std::io::Result<()> {
    if file.is_empty() {
        return Ok(());
    }
    let unfinished = Path::new(file).with_extension("tmp");
    std::fs::write(&unfinished, callback.to_string())?;
    std::fs::rename(unfinished, file)
}
