//! The plugin that the end-to-end tests deploy: that of the transcripts, and in its second deployment one version
//! more, whose steps kill the function.

use bk_plugin_kit::prelude::*;

/// What the functions serve. The second deployment has a file beside its binary, so that one build makes both.
pub fn project() -> Project {
    let second = std::env::current_exe().is_ok_and(|binary| binary.with_file_name(SECOND).exists());
    if second { conformance::project().version(Dying) } else { conformance::project() }
}

/// The file that makes a deployment the second one.
pub const SECOND: &str = "second-deployment";

/// What [`Dying`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct DyingInputs {
    /// A file that counts the deaths.
    counter: String,
    /// How often the second step kills its process.
    times: usize,
}

/// 10.0.0: its second step kills the process, so many times.
pub struct Dying;

impl Plugin for Dying {
    const META: Meta = Meta::version("10.0.0").enable_plugin_callback();
    type Inputs = DyingInputs;
    type Context = Context;

    async fn execute(&self, inputs: DyingInputs, cx: &mut Self::Context) -> Result<Next> {
        if matches!(cx.event(), Event::Invoked) {
            return Ok(Next::poll(secs(1)));
        }
        let deaths = std::fs::read_to_string(&inputs.counter).unwrap_or_default();
        if deaths.len() >= inputs.times {
            return Ok(Next::done());
        }
        std::fs::write(&inputs.counter, deaths + "x")?;
        std::process::exit(3)
    }
}
