//! The packages of the workspace, as cargo describes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The root of the repository.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    manifest_path: PathBuf,
    /// The registries to which it may be published: `None` means all, an empty list means none.
    publish: Option<Vec<String>>,
    /// All dependencies that its manifest names.
    pub dependencies: Vec<Dependency>,
}

/// A dependency, as a manifest names it.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// `dev`, `build`, or `None` for a normal dependency.
    kind: Option<String>,
    /// `*` where the manifest names no version.
    req: String,
}

impl Package {
    /// Its folder, relative to the root of the repository.
    pub fn folder(&self) -> String {
        let folder = self.manifest_path.parent().unwrap_or(Path::new(""));
        folder.strip_prefix(root()).unwrap_or(folder).display().to_string()
    }

    /// Whether it is published to a registry.
    pub fn is_published(&self) -> bool {
        self.publish.is_none()
    }
}

impl Dependency {
    /// Whether only tests, examples and benchmarks use it.
    pub fn is_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }

    /// Whether the manifest names a version. A published package needs one, a folder of the workspace does
    /// not.
    pub fn has_version(&self) -> bool {
        self.req != "*"
    }
}

/// The members of the workspace.
///
/// # Panics
///
/// If cargo does not answer as documented.
#[expect(clippy::unwrap_used, reason = "only tests ask")]
pub fn packages() -> Vec<Package> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    serde_json::from_str::<Metadata>(&metadata).unwrap().packages
}

/// Runs cargo, and returns its output.
///
/// # Panics
///
/// If cargo fails, with its error output.
#[expect(clippy::unwrap_used, reason = "only tests ask")]
pub fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
