//! Declares no fields at all.

use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::outputs::Loose;

pub struct Bare;

impl Plugin for Bare {
    const META: Meta = Meta::version("1.1.1");
    type Inputs = Empty;
    type Context = Context<Loose<Empty>>;

    async fn execute(&self, inputs: Empty, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.set(Loose::new(json!({"inputs": inputs, "data": cx.data})));
        Ok(Next::done())
    }
}
