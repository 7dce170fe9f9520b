//! The crates that an author's project needs can be published.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use docs::workspace::{Package, cargo, packages, root};

/// The crates that an author's manifest names, as opposed to their dependencies.
const NAMED_BY_AUTHORS: [&str; 4] =
    ["bk-plugin-kit", "bk-plugin-testing", "bk-plugin-server", "bk-plugin-lambda"];

fn published() -> Vec<Package> {
    packages().into_iter().filter(Package::is_published).collect()
}

/// The files of a crate's package, from its folder.
fn files(package: &Package) -> BTreeSet<PathBuf> {
    let list = ["package", "--list", "--offline", "--allow-dirty", "--package", &package.name];
    cargo(&list).lines().map(PathBuf::from).collect()
}

/// The files that a source includes when it is compiled: names in double quotes after `include_str!(` and the
/// like.
fn included(source: &str) -> impl Iterator<Item = &str> {
    let ways = ["include_str!(\"", "include_bytes!(\"", "include!(\"", "#[path = \"", "#[folder = \""];
    ways.into_iter().flat_map(|way| source.split(way).skip(1)).filter_map(|rest| rest.split('"').next())
}

/// The path without `.` and `..`; `None` where it leaves the crate's folder.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            other => resolved.push(other),
        }
    }
    Some(resolved)
}

#[test]
fn what_an_author_needs_is_published() {
    let published = published();
    let published: BTreeMap<&str, &Package> =
        published.iter().map(|package| (package.name.as_str(), package)).collect();
    for name in NAMED_BY_AUTHORS {
        assert!(published.contains_key(name), "{name}");
    }
    let members: BTreeSet<String> = packages().into_iter().map(|package| package.name).collect();
    for package in published.values() {
        for dependency in package.dependencies.iter().filter(|dependency| members.contains(&dependency.name))
        {
            let (name, dependency_name) = (&package.name, &dependency.name);
            if dependency.is_for_tests() {
                // Cargo leaves a dependency out of the package only if it has no version. One with a version
                // must be published first.
                let can_be_had = published.contains_key(dependency_name.as_str());
                assert!(can_be_had || !dependency.has_version(), "{name} is tested with {dependency_name}");
            } else {
                assert!(dependency.has_version(), "{name} needs {dependency_name}, which has no version");
                assert!(published.contains_key(dependency_name.as_str()), "{name} needs {dependency_name}");
            }
        }
    }
}

/// As in `just package`, but without compiling the packages.
#[test]
fn packages_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().display().to_string();
    let published = published();
    let mut command = vec!["package", "--no-verify", "--offline", "--allow-dirty", "--target-dir", &target];
    command.extend(published.iter().flat_map(|package| ["--package", package.name.as_str()]));
    cargo(&command);
    let made = fs::read_dir(folder.path().join("package")).unwrap();
    let made: BTreeSet<String> =
        made.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for package in &published {
        let file = format!("{}-{}.crate", package.name, package.version);
        assert!(made.contains(&file), "{file}");
    }
}

#[test]
fn a_package_has_every_file_that_it_is_compiled_from() {
    let mut found = 0;
    for package in published() {
        let files = files(&package);
        assert!(files.contains(Path::new("README.md")), "{} has no README.md", package.name);
        let is_source = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "rs");
        for source in files.iter().filter(is_source) {
            let text = fs::read_to_string(root().join(package.folder()).join(source)).unwrap();
            for name in included(&text) {
                found += 1;
                let path = resolved(&source.with_file_name(name));
                let is_there = path.is_some_and(|path| files.contains(&path));
                assert!(is_there, "{}/{}: {name} is not in the package", package.folder(), source.display());
            }
        }
    }
    assert!(found > 1, "the gateway's definition, at least");
}
