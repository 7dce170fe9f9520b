//! The plugin that the end-to-end tests deploy: the plugin of the transcripts. Its second deployment has one
//! more version, whose second step kills the function.

use bk_plugin_kit::prelude::*;

/// The project that the functions serve. A file beside the binary marks the second deployment, so that both
/// use the same build.
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

/// 10.0.0: its second step kills the process, as many times as the inputs say.
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
