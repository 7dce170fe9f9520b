//! Inputs that forbid unknown fields, a context that keeps them, outputs that do not match their schema.

use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::outputs::Loose;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    #[expect(dead_code, reason = "it has to be passed, nothing more")]
    a: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ContextInputs {
    #[serde(default = "nobody")]
    executor: String,
    #[serde(flatten)]
    #[schemars(skip)]
    more: JsonObject,
}

fn nobody() -> String {
    "nobody".to_owned()
}

#[derive(JsonSchema)]
pub struct Outputs {
    #[expect(dead_code, reason = "only its schema is looked at")]
    a: i64,
}

pub struct Forbid;

impl Plugin for Forbid {
    const META: Meta = Meta::version("1.1.2").desc("extra=forbid inputs, extra=allow context");
    type Inputs = Inputs;
    type Context = Context<Loose<Outputs>, (), ContextInputs>;

    async fn execute(&self, _: Inputs, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.set(Loose::new(json!({"a": "not an int", "undeclared": cx.data})));
        Ok(Next::done())
    }
}
