use bk_plugin_kit::prelude::*;

struct Inputs {
    hello: String,
}

struct Version;

impl Plugin for Version {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Inputs;
    type Context = Context;

    async fn execute(&self, _: Inputs, _: &mut Self::Context) -> Result<Next> {
        Ok(Next::done())
    }
}

fn main() {}
