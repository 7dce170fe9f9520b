//! All offences.

use serde_json::{Value, json};

use crate::offence::{Fate, Offence};
use crate::outcome::Promise;

const TIME_LIMIT: Promise = Promise::Fails("the step took longer than its time limit of 1 s");
const CRASHES: Promise = Promise::Fails("was started again and again");

const TOO_LARGE: Promise = Promise::Fails("the state is too large");

/// More than the cores of a small machine.
const MORE_THAN_CORES: usize = 4;

/// All offences. `silent_port` is a port of 127.0.0.1 that accepts connections and never answers.
pub fn offences(silent_port: u16) -> Vec<Offence> {
    let mut offences = threads();
    offences.extend(panics());
    offences.extend(ends_of_the_process());
    offences.extend(waits(silent_port));
    offences.extend(too_much());
    offences.extend(inputs());
    offences
}

fn threads() -> Vec<Offence> {
    let at_once = json!({"at_once": true});
    vec![
        Offence::invoke("sleeps its thread", "1.0.0-sleeps", TIME_LIMIT).times(MORE_THAN_CORES),
        Offence::invoke("sleeps its thread in its first step", "1.0.0-sleeps", TIME_LIMIT)
            .inputs(&at_once)
            .times(MORE_THAN_CORES),
        Offence::invoke("sleeps more threads than are replaced", "1.0.0-sleeps", TIME_LIMIT)
            .times(40)
            .fate(Fate::IsReplaced),
        Offence::invoke("computes without an end", "1.0.0-loops", TIME_LIMIT),
        Offence::invoke("calls a silent server with a synchronous client", "1.0.0-reads", TIME_LIMIT)
            .times(MORE_THAN_CORES),
        Offence::invoke("waits for itself: a deadlock", "1.0.0-deadlocks", TIME_LIMIT).times(MORE_THAN_CORES),
        Offence::invoke(
            "sleeps its thread when its time limit drops it",
            "1.0.0-sleeps-when-dropped",
            TIME_LIMIT,
        )
        .times(MORE_THAN_CORES),
        Offence::invoke("sleeps the thread of a task it spawns", "1.0.0-blocks-task", TIME_LIMIT)
            .times(MORE_THAN_CORES),
        Offence::invoke(
            "leaves threads and tasks behind that never end",
            "1.0.0-leaves-threads",
            Promise::Succeeds,
        )
        .times(MORE_THAN_CORES),
        Offence::get(
            "a route that sleeps its thread",
            "/bk_plugin/plugin_api/sleeps",
            Promise::Answered(408),
        )
        .times(MORE_THAN_CORES),
    ]
}

fn panics() -> Vec<Offence> {
    vec![
        Offence::invoke("panics", "1.0.0-panics", Promise::Fails("panicked: this version panics")),
        Offence::invoke(
            "panics with a payload that is not a text",
            "1.0.0-panics-with-a-number",
            Promise::Fails("panicked"),
        ),
        Offence::invoke(
            "panics when its time limit drops it",
            "1.0.0-panics-when-dropped",
            Promise::Fails("the step"),
        ),
        Offence::invoke(
            "has outputs that panic when they are dropped",
            "1.0.0-outputs-panic",
            Promise::Fails("panicked: this value panics when it is dropped"),
        ),
    ]
}

fn ends_of_the_process() -> Vec<Offence> {
    vec![
        Offence::invoke("aborts the process", "1.0.0-aborts", CRASHES).fate(Fate::Ends),
        Offence::invoke("aborts the process in its first step", "1.0.0-aborts", Promise::NoAnswer)
            .inputs(&json!({"at_once": true}))
            .fate(Fate::Ends),
        Offence::invoke("exits the process with success", "1.0.0-exits", CRASHES).fate(Fate::Ends),
        Offence::invoke("overflows the stack", "1.0.0-overflows-stack", CRASHES).fate(Fate::Ends),
        Offence::invoke("takes memory until there is none left", "1.0.0-allocates", CRASHES).fate(Fate::Ends),
        Offence::invoke("puts out JSON a million levels deep", "1.0.0-nests", CRASHES)
            .inputs(&json!({"levels": 1_000_000}))
            .fate(Fate::Ends),
    ]
}

fn waits(silent_port: u16) -> Vec<Offence> {
    let told = json!({"url": format!("http://127.0.0.1:{silent_port}/"), "data": {}});
    vec![
        Offence::invoke("never ends", "1.0.0-never-ends", TIME_LIMIT).times(MORE_THAN_CORES),
        Offence::invoke("polls without a pause for ever", "1.0.0-polls-for-ever", Promise::Polls)
            .times(MORE_THAN_CORES),
        Offence::invoke("waits for a callback that never comes", "1.0.0-waits-for-ever", Promise::Waits)
            .times(64),
        Offence::invoke("64 steps of 1 s, in a process with 16 slots", "1.0.0-crawls", Promise::Succeeds)
            .times(64),
        Offence::invoke("64 finish callbacks to a silent host", "1.0.0-tells", Promise::Succeeds)
            .body(&json!({"inputs": {}, "context": {"plugin_callback_info": told}}))
            .times(64),
    ]
}

fn too_much() -> Vec<Offence> {
    vec![
        Offence::invoke("logs 100,000 lines", "1.0.0-logs", Promise::Succeeds),
        Offence::invoke(
            "logs 200,000 lines to a standard output that is not read",
            "1.0.0-logs",
            Promise::Succeeds,
        )
        .times(2)
        .with_unread_stdout(),
        Offence::invoke("puts out 5 MiB", "1.0.0-puts-out", TOO_LARGE),
        Offence::invoke("stores 5 MiB", "1.0.0-stores", TOO_LARGE),
        Offence::invoke("puts out NaN", "1.0.0-not-a-number", Promise::Fails("number")),
        Offence::invoke("puts out JSON 200 levels deep", "1.0.0-nests", Promise::Fails("deep"))
            .inputs(&json!({"levels": 200})),
    ]
}

fn inputs() -> Vec<Offence> {
    const NOT_VALID: Promise = Promise::Fails("inputs validation error");
    let deep = format!(r#"{{"inputs": {}{}, "context": {{}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    vec![
        Offence::invoke("a rule in 35 rules, the innermost wrong", "1.0.0-rules", NOT_VALID)
            .inputs(&json!({"rule": rule(35)}))
            .times(3),
        Offence::invoke("2 MB of inputs that are all wrong", "1.0.0-rules", NOT_VALID)
            .inputs(&json!({"numbers": vec!["x"; 500_000]})),
        Offence::invoke("a body 100,000 levels deep", "1.0.0-rules", Promise::Answered(400)).text(&deep),
    ]
}

/// A rule so many levels deep, whose innermost is wrong.
fn rule(levels: u32) -> Value {
    (0..levels).fold(json!({"op": "Is", "field": "x"}), |inner, _| json!({"op": "And", "items": [inner]}))
}
