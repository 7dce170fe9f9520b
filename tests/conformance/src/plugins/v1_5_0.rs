//! Ends in an unexpected error.

use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::outputs::Loose;

pub struct Crash;

impl Plugin for Crash {
    const META: Meta = Meta::version("1.5.0").desc("raises an unexpected exception");
    type Inputs = Empty;
    type Context = Context<Loose<Empty>>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.set(Loose::new(json!({"before": "set before the crash"})));
        // With the quotes that Python puts around the key of a KeyError.
        unexpected!("'no such key'")
    }
}
