//! The echo of the reference's template.

use bk_plugin_kit::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub struct Inputs {
    hello: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct ContextInputs {
    #[schemars(title = "任务执行人")]
    #[expect(dead_code, reason = "it has to be passed, nothing more")]
    executor: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    world: String,
}

pub struct Echo;

impl Plugin for Echo {
    const META: Meta = Meta::version("1.0.0").desc("this is an example version").form(crate::FORM);
    type Inputs = Inputs;
    type Context = Context<Outputs, (), ContextInputs>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        tracing::info!("echo says {}", inputs.hello);
        cx.outputs.set(Outputs { world: inputs.hello });
        Ok(Next::done())
    }
}
