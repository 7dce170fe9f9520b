//! The names that a plugin's author sees. A name is added or removed only by changing this list, not by
//! accident.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// The names that a file makes public: modules, and what it re-exports.
fn public_names(source: &str) -> BTreeSet<String> {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    let mut names = BTreeSet::new();
    for statement in code.split(';').map(str::trim) {
        if statement.contains("#[doc(hidden)]") {
            continue;
        }
        let Some(at) = statement.rfind("pub ") else { continue };
        let public = &statement[at + "pub ".len()..];
        if let Some(module) = public.strip_prefix("mod ") {
            names.insert(module.to_owned());
        } else if let Some(path) = public.strip_prefix("use ") {
            let last = path.rsplit("::").next().unwrap();
            let listed = path.split_once('{').map_or(last, |(_, listed)| listed.trim_end_matches('}'));
            names
                .extend(listed.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
        }
    }
    names
}

#[test]
fn the_kit_shows_these_names_and_no_others() {
    let names = public_names(&source("shared/kit/src/lib.rs"));
    let expected = [
        // A version.
        "Plugin",
        "Meta",
        "Inputs",
        "Outputs",
        "Storage",
        "ContextInputs",
        "Empty",
        // A step.
        "Context",
        "Output",
        "Event",
        "Callback",
        "PreparedCallback",
        "Next",
        "CallbackWait",
        "secs",
        // How it fails (`fail!` and `unexpected!` are macros).
        "Error",
        "OrFail",
        "Result",
        // A project of versions.
        "Project",
        "ProjectError",
        "ProjectErrors",
        "Duplicate",
        // Callers and their requests.
        "Caller",
        "SopsContext",
        "PluginCallbackInfo",
        "JsonObject",
        // Names and times.
        "CallbackId",
        "TraceId",
        "Timestamp",
        // Modules.
        "prelude",
        "http",
    ];
    assert_eq!(names, expected.map(ToOwned::to_owned).into_iter().collect());
}

#[test]
fn the_prelude_has_what_a_versions_file_needs() {
    let names = public_names(&source("shared/kit/src/prelude.rs"));
    let expected = [
        "Callback",
        "CallbackId",
        "CallbackWait",
        "Caller",
        "Context",
        "Deserialize",
        "Empty",
        "Error",
        "Event",
        "JsonObject",
        "JsonSchema",
        "Meta",
        "Next",
        "OrFail",
        "Plugin",
        "PreparedCallback",
        "Project",
        "Result",
        "Serialize",
        "SopsContext",
        "Value",
        "fail",
        "secs",
        "unexpected",
    ];
    assert_eq!(names, expected.map(ToOwned::to_owned).into_iter().collect());
}

#[test]
fn an_authors_test_sees_these_names() {
    let names = public_names(&source("shared/testing/src/lib.rs"));
    assert_eq!(names, ["Harness", "Run", "State"].map(ToOwned::to_owned).into_iter().collect());
}
