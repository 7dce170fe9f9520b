//! `ARCHITECTURE.md` has a drawing of the crates, made from cargo's metadata, and a row for each member.
//!
//! `UPDATE=1 cargo test --package docs --test crates` redraws it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use docs::workspace::{packages, root};

/// The crates by floor, from the ground up. An arrow leads from a floor to a lower one.
const FLOORS: [&[&str]; 8] = [
    &["shared/core"],
    &["shared/kit"],
    &["shared/engine"],
    &["shared/testing", "shared/service"],
    &["shared/sql", "shared/aws", "shared/apigw"],
    &["shared/server", "shared/lambda"],
    &["shared/plugins"],
    &["functions/server", "functions/invoke", "functions/callback", "functions/poll-tick", "functions/meta"],
];

/// The line before the drawing.
const MARK: &str = "<!-- Made by tests/docs/tests/crates.rs. -->\n";

/// The dependencies of each crate below `shared` and `functions`, by folder. Dependencies for tests are left
/// out.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let packages = packages();
    let folders: BTreeMap<&str, String> =
        packages.iter().map(|package| (package.name.as_str(), package.folder())).collect();
    let drawn = packages.iter().filter(|package| !package.folder().starts_with("tests/"));
    drawn
        .map(|package| {
            let needed = package.dependencies.iter().filter(|dependency| !dependency.is_for_tests());
            let targets = needed.filter_map(|dependency| folders.get(dependency.name.as_str()).cloned());
            (package.folder(), targets.collect())
        })
        .collect()
}

/// The floor of a crate.
fn floor(folder: &str) -> usize {
    let floor = FLOORS.iter().position(|floor| floor.contains(&folder));
    floor.unwrap_or_else(|| panic!("{folder} has no floor in tests/docs/tests/crates.rs"))
}

/// All crates that a crate depends on, directly or not.
fn below(folder: &str, arrows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let direct = arrows.get(folder).into_iter().flatten();
    direct.flat_map(|target| below(target, arrows).into_iter().chain([target.clone()])).collect()
}

/// The drawing. An arrow is left out where a longer path leads to the same crate.
fn drawing(arrows: &BTreeMap<String, BTreeSet<String>>) -> String {
    let id = |folder: &str| folder.replace('/', "_");
    let mut drawing = "```mermaid\nflowchart TD\n".to_owned();
    for folder in FLOORS.iter().rev().copied().flatten() {
        let label = folder.strip_prefix("shared/").unwrap_or(folder);
        writeln!(drawing, "    {}[\"{label}\"]", id(folder)).unwrap();
    }
    for folder in FLOORS.iter().rev().copied().flatten() {
        let direct = &arrows[*folder];
        let indirect: BTreeSet<String> = direct.iter().flat_map(|target| below(target, arrows)).collect();
        let targets: Vec<String> = direct.difference(&indirect).map(|target| id(target)).collect();
        if !targets.is_empty() {
            writeln!(drawing, "    {} --> {}", id(folder), targets.join(" & ")).unwrap();
        }
    }
    drawing.push_str("```\n");
    drawing
}

#[test]
fn every_arrow_leads_down() {
    for (folder, targets) in arrows() {
        for target in targets {
            assert!(floor(&folder) > floor(&target), "{folder} must not be made of {target}");
        }
    }
}

#[test]
fn the_drawing_is_what_cargo_says() {
    let path = root().join("ARCHITECTURE.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARK).unwrap();
    let (_, after) = rest.split_once("\n```\n").unwrap();
    let current = format!("{before}{MARK}{}{after}", drawing(&arrows()));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, current).unwrap();
    } else {
        assert!(page == current, "the crates have changed: UPDATE=1 cargo test --package docs --test crates");
    }
}

#[test]
fn every_member_is_in_the_map() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for package in packages() {
        let row = format!("\n| `{}` | `{}` | ", package.folder(), package.name);
        assert!(page.contains(&row), "{row}");
    }
}
