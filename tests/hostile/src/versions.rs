//! The hostile versions, by what they do harm with.

pub mod inputs;
pub mod panics;
pub mod process;
pub mod threads;
pub mod too_much;
pub mod waits;

use std::time::Duration;

use bk_plugin_kit::prelude::*;

/// Adds all of them.
pub(crate) fn add_to(project: Project) -> Project {
    project
        .version(Hostile(threads::Sleeps))
        .version(Hostile(threads::Loops))
        .version(Hostile(threads::Reads))
        .version(Hostile(threads::Deadlocks))
        .version(Hostile(threads::SleepsWhenDropped))
        .version(Hostile(threads::BlocksTask))
        .version(Hostile(threads::LeavesThreads))
        .plugin_api(threads::routes())
        .version(Hostile(panics::Panics))
        .version(Hostile(panics::PanicsWithNumber))
        .version(Hostile(panics::PanicsWhenDropped))
        .version(panics::OutputsPanic)
        .version(Hostile(process::Aborts))
        .version(Hostile(process::Exits))
        .version(Hostile(process::OverflowsStack))
        .version(Hostile(process::Allocates))
        .version(Hostile(waits::NeverEnds))
        .version(Hostile(waits::PollsForEver))
        .version(Hostile(waits::WaitsForEver))
        .version(Hostile(waits::Crawls))
        .version(waits::Tells)
        .version(too_much::Logs)
        .version(too_much::PutsOut)
        .version(too_much::Stores)
        .version(too_much::NotANumber)
        .version(too_much::Nests)
        .version(inputs::Rules)
}

/// Longer than any trial.
const FOR_EVER: Duration = Duration::from_hours(24);

/// Pause before the step that does harm: the caller gets its answer first.
const SOON: Duration = Duration::from_millis(500);

/// A version number and the time limit of all hostile versions, which is short so that a trial is short.
const fn version(number: &'static str) -> Meta {
    Meta::version(number).step_time_limit(Duration::from_secs(1))
}

/// One kind of harm.
pub trait Harm: Send + Sync + 'static {
    /// Version number and options.
    const META: Meta;

    /// Does it, and says what comes next if that is still possible.
    fn harm(&self) -> impl Future<Output = Result<Next>> + Send;
}

/// What [`Hostile`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct When {
    /// In the first step, inside `invoke`. Otherwise in every later step.
    #[serde(default)]
    at_once: bool,
}

/// A version that does harm.
pub struct Hostile<H>(pub H);

impl<H: Harm> Plugin for Hostile<H> {
    const META: Meta = H::META;
    type Inputs = When;
    type Context = Context;

    async fn execute(&self, inputs: When, cx: &mut Self::Context) -> Result<Next> {
        match cx.event() {
            Event::Invoked if !inputs.at_once => Ok(Next::poll(SOON)),
            _ => self.0.harm().await,
        }
    }
}
