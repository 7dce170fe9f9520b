use bk_plugin_kit::prelude::*;

#[derive(Deserialize)]
struct ContextInputs {
    executor: String,
}

struct Version;

impl Plugin for Version {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Context<Empty, (), ContextInputs>;

    async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
        Ok(Next::done())
    }
}

fn main() {}
