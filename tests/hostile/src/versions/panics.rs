//! Versions that panic, each in another place.

use std::future::pending;
use std::panic::panic_any;

use bk_plugin_kit::prelude::*;

use super::{Harm, SOON, version};

/// 1.0.0-panics: panics.
pub struct Panics;

impl Harm for Panics {
    const META: Meta = version("1.0.0-panics");

    async fn harm(&self) -> Result<Next> {
        panic!("this version panics")
    }
}

/// 1.0.0-panics-with-a-number: panics with a payload that is not a text.
pub struct PanicsWithNumber;

impl Harm for PanicsWithNumber {
    const META: Meta = version("1.0.0-panics-with-a-number");

    async fn harm(&self) -> Result<Next> {
        panic_any(7)
    }
}

/// Panics when it is dropped.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        // A panic while another one unwinds would abort the process: that is 1.0.0-aborts.
        assert!(std::thread::panicking(), "this value panics when it is dropped");
    }
}

/// 1.0.0-panics-when-dropped: never ends, and panics when the time limit drops it.
pub struct PanicsWhenDropped;

impl Harm for PanicsWhenDropped {
    const META: Meta = version("1.0.0-panics-when-dropped");

    async fn harm(&self) -> Result<Next> {
        let _held = PanicsInDrop;
        pending().await
    }
}

/// Outputs that panic when they are dropped.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct PanickingOutputs {
    text: String,
}

impl Drop for PanickingOutputs {
    fn drop(&mut self) {
        drop(PanicsInDrop);
    }
}

/// 1.0.0-outputs-panic: succeeds with outputs that panic when they are dropped.
pub struct OutputsPanic;

impl Plugin for OutputsPanic {
    const META: Meta = version("1.0.0-outputs-panic");
    type Inputs = Empty;
    type Context = Context<PanickingOutputs>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        if cx.invoke_count() == 1 {
            return Ok(Next::poll(SOON));
        }
        cx.outputs.set(PanickingOutputs { text: "put out".to_owned() });
        Ok(Next::done())
    }
}
