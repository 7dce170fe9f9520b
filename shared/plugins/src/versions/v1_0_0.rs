//! The smallest plugin: says back what it is told.

use bk_plugin_kit::prelude::*;

#[derive(Deserialize, JsonSchema)]
pub struct Inputs {
    hello: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct ContextInputs {
    #[schemars(title = "任务执行人")]
    executor: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    world: String,
}

pub struct Echo;

impl Plugin for Echo {
    const META: Meta = Meta::version("1.0.0")
        .desc("this is an example version")
        .form(include_str!("../../../../forms/1.0.0/form.js"));
    type Inputs = Inputs;
    type Context = Context<Outputs, (), ContextInputs>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        tracing::info!("{} says hello {}", cx.data.executor, inputs.hello);
        cx.outputs.set(Outputs { world: inputs.hello });
        Ok(Next::done())
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_testing::{Harness, State};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn says_back_what_it_is_told() {
        let harness = Harness::new(Echo).unwrap();
        let run = harness.invoke(json!({"hello": "你好"}), json!({"executor": "admin"})).await;
        assert_eq!(run.state(), State::Success);
        assert_eq!(run.outputs(), &json!({"world": "你好"}));
    }

    #[tokio::test]
    async fn names_the_field_that_is_missing() {
        let run = Harness::new(Echo).unwrap().invoke(json!({}), json!({"executor": "admin"})).await;
        assert_eq!(run.state(), State::Fail);
        assert!(run.err().contains("hello"), "{}", run.err());
    }
}
