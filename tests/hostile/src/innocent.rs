//! The innocent versions. What becomes of them shows what an offence does to others.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bk_plugin_kit::prelude::*;

/// What [`Polls`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct PollsInputs {
    /// File that a line is added to when a step begins, and when the next one is decided on.
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
        let (trace_id, step) = (cx.trace_id(), cx.invoke_count());
        if step > 1 {
            let (due, begun) = (cx.storage, cx.now().as_millis());
            note(&inputs.journal, &format!("{trace_id} {step} {due} {begun}"))?;
            tokio::time::sleep(Duration::from_millis(inputs.work)).await;
        }
        if step >= inputs.steps || Path::new(&inputs.stop).exists() {
            return Ok(Next::done());
        }
        let due = cx.now().as_millis() + inputs.interval.cast_signed();
        note(&inputs.journal, &format!("{trace_id} {} {due} -", step + 1))?;
        cx.storage = due;
        Ok(Next::poll(Duration::from_millis(inputs.interval)))
    }
}

/// Adds a line to the journal in a single write, so that lines of several steps do not mix.
fn note(journal: &str, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(journal)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
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
