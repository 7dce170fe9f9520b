//! The innocent versions. What becomes of them shows what an offence does to others.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bk_plugin_kit::prelude::*;

/// What [`Polls`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct PollsInputs {
    /// File that a line is added to at the end of each step.
    journal: String,
    /// The invocation ends with the first step that finds this file.
    stop: String,
    /// The invocation ends with this step, if not before.
    steps: u32,
    /// Milliseconds between steps.
    interval: u64,
    /// Milliseconds that each step but the first takes.
    work: u64,
}

/// 1.0.0-polls: polls until it is told to stop, and keeps a journal of when each step was due and when it began.
pub struct Polls;

impl Plugin for Polls {
    const META: Meta = Meta::version("1.0.0-polls");
    type Inputs = PollsInputs;
    /// The storage is the time at which the next step is due, in milliseconds.
    type Context = Context<Empty, i64>;

    async fn execute(&self, inputs: PollsInputs, cx: &mut Self::Context) -> Result<Next> {
        let (due, begun) = (cx.storage, cx.now().as_millis());
        if cx.invoke_count() > 1 {
            tokio::time::sleep(Duration::from_millis(inputs.work)).await;
        }
        let ends = cx.invoke_count() >= inputs.steps || Path::new(&inputs.stop).exists();
        cx.storage = if ends { 0 } else { cx.now().as_millis() + inputs.interval.cast_signed() };
        // A single write, so that lines of several steps do not mix.
        let line = format!("{} {} {due} {begun} {}\n", cx.trace_id(), cx.invoke_count(), cx.storage);
        let mut journal = OpenOptions::new().append(true).create(true).open(&inputs.journal)?;
        journal.write_all(line.as_bytes())?;
        Ok(if ends { Next::done() } else { Next::poll(Duration::from_millis(inputs.interval)) })
    }
}

/// What [`Echo`] is told and puts out.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Said {
    said: String,
}

/// 1.0.0-echo: puts out what it is told, in its first step.
pub struct Echo;

impl Plugin for Echo {
    const META: Meta = Meta::version("1.0.0-echo");
    type Inputs = Said;
    type Context = Context<Said>;

    async fn execute(&self, inputs: Said, cx: &mut Self::Context) -> Result<Next> {
        cx.outputs.set(inputs);
        Ok(Next::done())
    }
}
