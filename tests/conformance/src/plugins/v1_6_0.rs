//! Follows the path in its inputs, and has a finish callback at the end.

use bk_plugin_kit::PluginCallbackInfo;
use bk_plugin_kit::prelude::*;
use serde::Serializer;
use serde::ser::Error as _;
use serde_json::json;

use crate::outputs::Loose;
use crate::state_name;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    /// comma separated: poll | callback | fail | crash | end
    path: String,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { path: "poll,callback,end".to_owned() }
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct ContextInputs {
    #[serde(default = "nobody")]
    #[expect(dead_code, reason = "only its schema is looked at")]
    executor: String,
    #[schemars(title = "任务回调信息")]
    #[expect(dead_code, reason = "it is the kit that calls")]
    plugin_callback_info: Option<PluginCallbackInfo>,
}

fn nobody() -> String {
    "nobody".to_owned()
}

#[derive(Default, Serialize, Deserialize)]
pub struct Storage {
    #[serde(skip_serializing_if = "Option::is_none")]
    bad: Option<NoJson>,
}

/// A value that cannot be written as JSON.
#[derive(Deserialize)]
pub struct NoJson;

impl Serialize for NoJson {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("Object of type object is not JSON serializable"))
    }
}

#[derive(JsonSchema)]
pub struct Outputs {
    #[schemars(default)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    trail: Vec<Value>,
}

pub struct FinishCallback;

impl Plugin for FinishCallback {
    const META: Meta = Meta::version("1.6.0")
        .desc("poll, then callback, then success; finish callback")
        .enable_plugin_callback();
    type Inputs = Inputs;
    type Context = Context<Loose<Outputs>, Storage, ContextInputs>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let count = cx.invoke_count();
        let step = inputs.path.split(',').nth(count as usize - 1);
        let Some(step) = step else { unexpected!("list index out of range") };
        let seen = json!([count, state_name(&cx.event()), step]);
        cx.outputs.edit().push("trail", seen);
        match step {
            "poll" => return Ok(Next::poll(secs(1))),
            "callback" => {
                let prepared = cx.prepare_callback();
                cx.outputs.edit().set("callback_url", prepared.url);
                return Ok(Next::callback());
            }
            "fail" => fail!("asked to fail"),
            "crash" => unexpected!("asked to crash"),
            "nonjson" => cx.storage.bad = Some(NoJson),
            _ => {}
        }
        Ok(Next::done())
    }
}
