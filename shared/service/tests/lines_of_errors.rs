//! The log says which line of the author's code a step failed on, and of which invocation; the caller is not told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

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

#[tokio::test(flavor = "current_thread")]
async fn a_failed_step_says_its_line_in_the_log() {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
    let _log = tracing::subscriber::set_default(log);
    log_panics();
    let ways = ["fail", "unexpected", "question mark", "or_fail", "panic"];
    for (way, lineno) in ways.into_iter().zip(FIRST..) {
        let run = Harness::new(Fails).unwrap().invoke(json!({"way": way}), Empty {}).await;
        assert_eq!(run.state(), State::Fail);
        assert!(!run.err().contains("lines_of_errors"), "the caller is not told: {}", run.err());
        let text = String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = lines.iter().find(|line| line["lineno"] == lineno);
        let said = said.unwrap_or_else(|| panic!("no line of the log names {lineno} for {way}: {text}"));
        assert!(said["pathname"].as_str().unwrap().ends_with("lines_of_errors.rs"), "{said}");
        assert_eq!(said["trace_id"].as_str().unwrap().len(), 32, "{said}");
    }
}
