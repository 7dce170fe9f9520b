//! Plugins that keep a journal of every run of `execute` in a file, or keep their thread, for tests that kill the
//! server and for tests of a server that is kept busy.
#![deny(missing_docs)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use bk_plugin_kit::prelude::*;

/// The project that the `crash-plugins` binary serves.
pub fn project() -> Project {
    Project::new("plugins that keep a journal")
        .version(Polling)
        .version(Assistant)
        .version(Collecting)
        .version(Dying)
        .version(Blocking)
        .version(Talking)
        .plugin_api(Router::new().route("/block", get(block)).route("/quick", get(async || "quick")))
}

/// Adds a line to the journal in a single write, so that lines of several steps do not mix.
fn note(journal: &str, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(journal)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

/// What [`Polling`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct PollingInputs {
    journal: String,
    times: u32,
    /// Milliseconds between steps.
    interval: u64,
    /// Milliseconds a step takes.
    #[serde(default)]
    work: u64,
}

/// 1.0.0: polls, and notes each step in the journal before the step's work.
pub struct Polling;

impl Plugin for Polling {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = PollingInputs;
    type Context = Context;

    async fn execute(&self, inputs: PollingInputs, cx: &mut Self::Context) -> Result<Next> {
        note(&inputs.journal, &format!("{} {}", cx.trace_id(), cx.invoke_count()))?;
        tokio::time::sleep(Duration::from_millis(inputs.work)).await;
        if cx.invoke_count() <= inputs.times {
            Ok(Next::poll(Duration::from_millis(inputs.interval)))
        } else {
            Ok(Next::done())
        }
    }
}

/// 1.0.0assistant: [`Polling`] with a version number of the form that published Python plugins use.
pub struct Assistant;

impl Plugin for Assistant {
    const META: Meta = Meta::version("1.0.0assistant");
    type Inputs = PollingInputs;
    type Context = Context;

    async fn execute(&self, inputs: PollingInputs, cx: &mut Self::Context) -> Result<Next> {
        Polling.execute(inputs, cx).await
    }
}

/// What [`Collecting`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct CollectingInputs {
    /// File that the callback URL is written to before the first step ends.
    #[serde(default)]
    url_file: Option<String>,
    /// Milliseconds the first step takes after that.
    #[serde(default)]
    sleep: u64,
}

/// What [`Collecting`] puts out.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    callback_url: String,
    callbacks: Vec<Value>,
}

/// 2.0.0: collects the bodies of callbacks until one is `"end"`.
pub struct Collecting;

impl Plugin for Collecting {
    const META: Meta = Meta::version("2.0.0");
    type Inputs = CollectingInputs;
    type Context = Context<Collected>;

    async fn execute(&self, inputs: CollectingInputs, cx: &mut Self::Context) -> Result<Next> {
        let Event::Called(callback) = cx.event() else {
            let url = cx.prepare_callback().url;
            if let Some(file) = inputs.url_file {
                std::fs::write(file, &url)?;
            }
            cx.outputs.set(Collected { callback_url: url, callbacks: Vec::new() });
            tokio::time::sleep(Duration::from_millis(inputs.sleep)).await;
            return Ok(Next::callback());
        };
        let ended = callback.data() == "end";
        cx.outputs.edit().callbacks.push(callback.data().clone());
        Ok(if ended { Next::done() } else { Next::callback() })
    }
}

/// What [`Dying`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct DyingInputs {
    /// Milliseconds before its second step kills the process.
    #[serde(default)]
    after: u64,
}

/// 3.0.0: its second step kills the process.
pub struct Dying;

impl Plugin for Dying {
    const META: Meta = Meta::version("3.0.0");
    type Inputs = DyingInputs;
    type Context = Context;

    async fn execute(&self, inputs: DyingInputs, cx: &mut Self::Context) -> Result<Next> {
        // The process must not die before the caller has its answer.
        if matches!(cx.event(), Event::Invoked) {
            return Ok(Next::poll(Duration::from_millis(500)));
        }
        tokio::time::sleep(Duration::from_millis(inputs.after)).await;
        std::process::abort()
    }
}

/// What [`Blocking`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct BlockingInputs {
    /// The second step keeps its thread until there is such a file.
    until: String,
    /// Whether it computes meanwhile, or sleeps.
    #[serde(default)]
    spin: bool,
}

/// 4.0.0: its second step keeps its thread.
pub struct Blocking;

impl Plugin for Blocking {
    const META: Meta = Meta::version("4.0.0");
    type Inputs = BlockingInputs;
    type Context = Context;

    async fn execute(&self, inputs: BlockingInputs, cx: &mut Self::Context) -> Result<Next> {
        if let Event::Invoked = cx.event() {
            return Ok(Next::poll(Duration::from_millis(100)));
        }
        keep_thread(&inputs.until, inputs.spin);
        Ok(Next::done())
    }
}

fn keep_thread(until: &str, spin: bool) {
    while !Path::new(until).exists() {
        if !spin {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Keeps its thread until there is the file that the query names.
async fn block(RawQuery(until): RawQuery) {
    keep_thread(&until.unwrap_or_default(), false);
}

/// What [`Talking`] is told.
#[derive(Deserialize, JsonSchema)]
pub struct TalkingInputs {
    lines: u32,
}

/// 5.0.0: logs that many lines in its only step.
pub struct Talking;

impl Plugin for Talking {
    const META: Meta = Meta::version("5.0.0");
    type Inputs = TalkingInputs;
    type Context = Context;

    async fn execute(&self, inputs: TalkingInputs, _: &mut Self::Context) -> Result<Next> {
        for line in 0..inputs.lines {
            tracing::info!(
                line,
                "a line of the log that is as long as lines are, so that many fill any buffer"
            );
        }
        Ok(Next::done())
    }
}
