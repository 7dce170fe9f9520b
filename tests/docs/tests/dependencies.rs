//! `docs/dependencies.md` gives a reason for every direct dependency, and for no other.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;

use docs::workspace::root;

/// The dependencies that the manifest of the workspace names for its members, its own crates left out.
fn direct() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies =
        manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let names = dependencies.lines().filter(|line| !line.contains("path = "));
    names.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
}

#[test]
fn every_dependency_has_its_reason() {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let listed =
        page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
    assert_eq!(listed.collect::<BTreeSet<String>>(), direct());
}
