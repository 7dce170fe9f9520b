//! Versions that log, put out or store too much, or what JSON cannot say.

use std::time::Duration;

use bk_plugin_kit::prelude::*;

use super::{SOON, version};

/// More bytes than a record may have.
const TOO_LARGE: usize = 5 * 1024 * 1024;

/// 1.0.0-logs: 2,000 lines in the log in each of 50 steps.
pub struct Logs;

impl Plugin for Logs {
    // Without the short limit of the others: it is to come to its end.
    const META: Meta = Meta::version("1.0.0-logs");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if cx.invoke_count() == 1 {
            return Ok(Next::poll(SOON));
        }
        for line in 0..2000 {
            tracing::info!(line, "this version says much");
        }
        Ok(if cx.invoke_count() > 50 { Next::done() } else { Next::poll(Duration::ZERO) })
    }
}

/// A text.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    text: String,
}

impl Text {
    fn too_large() -> Self {
        Self { text: "x".repeat(TOO_LARGE) }
    }
}

/// 1.0.0-puts-out: outputs of 5 MiB.
pub struct PutsOut;

impl Plugin for PutsOut {
    const META: Meta = version("1.0.0-puts-out");
    type Inputs = Empty;
    type Context = Context<Text>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if cx.invoke_count() == 1 {
            return Ok(Next::poll(SOON));
        }
        cx.outputs.set(Text::too_large());
        Ok(Next::done())
    }
}

/// 1.0.0-stores: storage of 5 MiB.
pub struct Stores;

impl Plugin for Stores {
    const META: Meta = version("1.0.0-stores");
    type Inputs = Empty;
    type Context = Context<Empty, Text>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if cx.invoke_count() > 1 {
            cx.storage = Text::too_large();
        }
        Ok(Next::poll(SOON))
    }
}

/// A number.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Number {
    number: f64,
}

/// 1.0.0-not-a-number: an output that JSON cannot say.
pub struct NotANumber;

impl Plugin for NotANumber {
    const META: Meta = version("1.0.0-not-a-number");
    type Inputs = Empty;
    type Context = Context<Number>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if cx.invoke_count() == 1 {
            return Ok(Next::poll(SOON));
        }
        cx.outputs.set(Number { number: f64::NAN });
        Ok(Next::done())
    }
}

/// What [`Nests`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct NestsInputs {
    levels: u32,
}

/// Any JSON.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Anything {
    anything: Value,
}

/// 1.0.0-nests: lists in lists as outputs, then one more step.
pub struct Nests;

impl Plugin for Nests {
    const META: Meta = version("1.0.0-nests");
    type Inputs = NestsInputs;
    type Context = Context<Anything>;

    async fn execute(&self, inputs: NestsInputs, cx: &mut Self::Context) -> Result<Next> {
        match cx.invoke_count() {
            1 => Ok(Next::poll(SOON)),
            2 => {
                let nested = (0..inputs.levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
                cx.outputs.set(Anything { anything: nested });
                Ok(Next::poll(SOON))
            }
            _ => Ok(Next::done()),
        }
    }
}
