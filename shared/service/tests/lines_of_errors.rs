//! The log says which line of the author's code a step failed on, and of which invocation; the caller is not told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bk_plugin_kit::prelude::*;
use bk_plugin_service::json_lines::JsonLines;
use bk_plugin_service::panics::log_panics;
use bk_plugin_testing::{Harness, State};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Deserialize, JsonSchema)]
struct Inputs {
    way: String,
}

struct Fails;

const FIRST: u32 = line!() + 9;

impl Plugin for Fails {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Inputs;
    type Context = Context;

    async fn execute(&self, inputs: Inputs, _: &mut Self::Context) -> Result<Next> {
        match inputs.way.as_str() {
            "fail" => fail!("own words"),
            "unexpected" => unexpected!("odd"),
            "question mark" => drop("x".parse::<u8>()?),
            "or_fail" => "x".parse::<u8>().map(drop).or_fail()?,
            _ => panic!("out of order"),
        }
        Ok(Next::done())
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that are written from now on, and until the guard is dropped.
fn log() -> (Written, tracing::subscriber::DefaultGuard) {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
    (written, tracing::subscriber::set_default(log))
}

impl Written {
    fn take(&self) -> Vec<Value> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Keeps its thread twice, and fails.
struct Blocks;

impl Plugin for Blocks {
    const META: Meta = Meta::version("1.0.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(1001));
            tokio::task::yield_now().await;
        }
        fail!("own words")
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_step_that_keeps_its_thread_for_more_than_a_second_is_warned_of_once_however_it_ends() {
    let (written, _log) = log();
    let run = Harness::new(Blocks).unwrap().invoke(Empty {}, Empty {}).await;
    assert_eq!(run.state(), State::Fail);
    let lines = written.take();
    let warned = |line: &&Value| line["message"] == "author code kept its thread without awaiting";
    let warned: Vec<_> = lines.iter().filter(warned).collect();
    assert_eq!(warned.len(), 1, "{lines:?}");
    assert!(warned[0]["seconds"].as_f64().unwrap() > 1.0 && warned[0]["trace_id"].is_string(), "{warned:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_step_says_its_line_in_the_log() {
    let (written, _log) = log();
    log_panics();
    let ways = ["fail", "unexpected", "question mark", "or_fail", "panic"];
    for (way, lineno) in ways.into_iter().zip(FIRST..) {
        let run = Harness::new(Fails).unwrap().invoke(json!({"way": way}), Empty {}).await;
        assert_eq!(run.state(), State::Fail);
        assert!(!run.err().contains("lines_of_errors"), "the caller is not told: {}", run.err());
        let lines = written.take();
        let said = lines.iter().find(|line| line["lineno"] == lineno);
        let said = said.unwrap_or_else(|| panic!("no line of the log names {lineno} for {way}: {lines:?}"));
        assert!(said["pathname"].as_str().unwrap().ends_with("lines_of_errors.rs"), "{said}");
        assert_eq!(said["trace_id"].as_str().unwrap().len(), 32, "{said}");
    }
}
