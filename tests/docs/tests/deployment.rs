//! Settings that a deployment must name, because the defaults of AWS or its tools would be wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use docs::workspace::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The lines of a section, from the line after `head` up to the next line for which `ends` is true.
fn section<'a>(text: &'a str, head: &str, ends: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| *line != head).skip(1);
    lines.take_while(|line| !ends(line)).map(str::trim).collect()
}

#[test]
fn a_panic_in_a_function_ends_one_step_and_not_its_process() {
    let manifest = read("Cargo.toml");
    let release = section(&manifest, "[profile.release]", |line| line.starts_with('['));
    assert!(release.contains(&"panic = \"unwind\""), "cargo-lambda chooses \"abort\" otherwise: {release:?}");
}

#[test]
fn lambda_does_not_take_polling_for_a_loop() {
    let template = read("template.yaml");
    let function =
        section(&template, "  PollTickFunction:", |line| line.starts_with("  ") && !line.starts_with("   "));
    assert!(function.contains(&"RecursiveLoop: Allow"), "{function:?}");
}
