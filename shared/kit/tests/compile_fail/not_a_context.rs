use bk_plugin_kit::prelude::*;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Outputs {
    world: String,
}

struct Version;

impl Plugin for Version {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Outputs;

    async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
        Ok(Next::done())
    }
}

fn main() {}
