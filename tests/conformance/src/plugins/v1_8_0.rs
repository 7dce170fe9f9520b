//! Various odd cases.

use std::time::Duration;

use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::outputs::Loose;
use crate::state_name;

#[derive(Deserialize, JsonSchema)]
pub struct Inputs {
    what: String,
}

pub struct Odd;

impl Plugin for Odd {
    const META: Meta = Meta::version("1.8.0");
    type Inputs = Inputs;
    type Context = Context<Loose<Empty>>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let state = state_name(&cx.event());
        let event = cx.event();
        let outputs = cx.outputs.edit();
        outputs.push("seen", state);
        match event {
            Event::Invoked => {}
            Event::Called(call) => {
                outputs.set("cb", json!([call.id(), call.data()]));
                return Ok(Next::done());
            }
            Event::Polled | Event::TimedOut => {
                outputs.set("cb", json!([null, null]));
                return Ok(Next::done());
            }
        }
        match inputs.what.as_str() {
            "neg" => Ok(Next::poll(secs(0))),
            "float" => Ok(Next::poll(Duration::from_millis(500))),
            // A step that asks for both a poll and a callback waits for the callback.
            "poll_then_cb" | "cb_then_poll" => Ok(Next::callback()),
            "replace_outputs" => {
                cx.outputs.set(Loose::new(json!({"replaced": true})));
                Ok(Next::poll(secs(0)))
            }
            "outputs_list" => {
                cx.outputs.set(Loose::new(json!([1, 2])));
                Ok(Next::done())
            }
            "outputs_none" => {
                cx.outputs.set(Loose::new(Value::Null));
                Ok(Next::done())
            }
            "sysexit1" => unexpected!("1"),
            "sysexit" => unexpected!("3"),
            "base" => fail!(""),
            "multi" => fail!("('a', {{'b': 1}})"),
            _ => Ok(Next::done()),
        }
    }
}
