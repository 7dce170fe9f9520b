//! Requires `plugin_callback_info`, as the reference's README declares it.

use bk_plugin_kit::PluginCallbackInfo;
use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::outputs::Loose;

#[derive(Deserialize, JsonSchema)]
pub struct ContextInputs {
    #[schemars(title = "任务回调信息")]
    #[expect(dead_code, reason = "it is the kit that calls")]
    plugin_callback_info: PluginCallbackInfo,
}

pub struct FinishCallbackRequired;

impl Plugin for FinishCallbackRequired {
    const META: Meta = Meta::version("1.6.1")
        .desc("plugin_callback_info declared as in the README (required)")
        .enable_plugin_callback();
    type Inputs = Empty;
    type Context = Context<Loose<Empty>, (), ContextInputs>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.set(Loose::new(json!({"n": cx.invoke_count()})));
        Ok(if cx.invoke_count() == 1 { Next::poll(secs(0)) } else { Next::done() })
    }
}
