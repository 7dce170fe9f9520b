//! Ends in the author's error.

use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::outputs::Loose;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    message: String,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { message: "expected failure 预期失败".to_owned() }
    }
}

pub struct Err;

impl Plugin for Err {
    const META: Meta = Meta::version("1.4.0").desc("raises self.Error");
    type Inputs = Inputs;
    type Context = Context<Loose<Empty>>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.set(Loose::new(json!({"before": "set before the error"})));
        fail!("{}", inputs.message)
    }
}
