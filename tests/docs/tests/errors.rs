//! `docs/errors.md` has a heading for every warning and error in the log, and no other headings.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use docs::workspace::root;

fn headings() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    page.lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`').map(ToOwned::to_owned))
        .collect()
}

fn add_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "tests" {
            add_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            let source = fs::read_to_string(&path).unwrap();
            text.push_str(source.split("mod tests {").next().unwrap_or_default());
        }
    }
}

/// The sources of all code that runs in production, with each string literal joined into one line.
fn sources() -> String {
    let mut text = String::new();
    for folder in ["core", "kit", "engine", "service", "sql", "aws", "apigw", "server", "lambda"] {
        add_sources(&root().join("shared").join(folder).join("src"), &mut text);
    }
    let mut whole = String::new();
    for part in text.split("\\\n") {
        whole.push_str(if whole.is_empty() { part } else { part.trim_start() });
    }
    whole
}

/// The text of every warning and error, up to its first variable part.
fn logged(sources: &str) -> Vec<String> {
    let calls =
        ["tracing::warn!(", "tracing::error!("].into_iter().flat_map(|call| sources.split(call).skip(1));
    calls
        .filter_map(|rest| {
            // The message is the last string of the call.
            let arguments = rest.split_once(')').map(|_| end_of_call(rest))?;
            let message = arguments.rsplit('"').nth(1)?;
            Some(message.split('{').next().unwrap_or_default().to_owned())
        })
        .filter(|message| !message.is_empty())
        .collect()
}

/// The text before the parenthesis that closes the call.
fn end_of_call(rest: &str) -> &str {
    let (mut depth, mut in_string) = (1, false);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'"' => in_string = !in_string,
            b'(' if !in_string => depth += 1,
            b')' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &rest[..at];
        }
    }
    rest
}

#[test]
fn every_heading_is_a_part_of_a_message() {
    let sources = sources();
    let unknown: Vec<String> =
        headings().into_iter().filter(|heading| !sources.contains(heading.as_str())).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_warning_and_error_of_the_log_has_its_heading() {
    let headings = headings();
    let logged = logged(&sources());
    assert!(logged.len() > 20, "the sources are read: {logged:?}");
    let missing: Vec<String> = logged
        .into_iter()
        .filter(|message| !headings.iter().any(|heading| message.contains(heading.as_str())))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}
