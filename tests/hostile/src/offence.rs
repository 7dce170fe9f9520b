//! One offence: what is asked of a server, and what is promised then.

use serde_json::{Value, json};

use crate::outcome::Promise;

/// What standard output of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// A file.
    File,
    /// A pipe that is not read.
    Unread,
}

/// What becomes of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives on.
    Lives,
    /// The offence ends it.
    Ends,
    /// It says in `/healthz` that it is not well, so the orchestrator replaces it.
    IsReplaced,
}

/// A body that is sent to a path, so many times at once.
#[derive(Debug)]
pub struct Offence {
    /// What it does, as the table says it.
    pub name: &'static str,
    /// The path that it is sent to.
    pub path: String,
    /// The body of the POST; without one, it is a GET.
    pub body: Option<Vec<u8>>,
    /// How many requests are sent at once.
    pub times: usize,
    /// What is promised of each.
    pub promise: Promise,
    /// What becomes of the process.
    pub fate: Fate,
    /// The server's standard output.
    pub stdout: Stdout,
}

impl Offence {
    /// An invocation of a version.
    pub(crate) fn invoke(name: &'static str, version: &str, promise: Promise) -> Self {
        let path = format!("/bk_plugin/invoke/{version}");
        let offence =
            Self { name, path, body: None, times: 1, promise, fate: Fate::Lives, stdout: Stdout::File };
        offence.body(&json!({"inputs": {}, "context": {}}))
    }

    /// A GET.
    pub(crate) fn get(name: &'static str, path: &str, promise: Promise) -> Self {
        let path = path.to_owned();
        Self { name, path, body: None, times: 1, promise, fate: Fate::Lives, stdout: Stdout::File }
    }

    /// With these inputs.
    pub(crate) fn inputs(self, inputs: &Value) -> Self {
        self.body(&json!({"inputs": inputs, "context": {}}))
    }

    /// With this body.
    pub(crate) fn body(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    /// With this text as its body.
    pub(crate) fn text(self, body: &str) -> Self {
        Self { body: Some(body.as_bytes().to_vec()), ..self }
    }

    /// So many at once.
    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// The process does not live on.
    pub(crate) fn fate(self, fate: Fate) -> Self {
        Self { fate, ..self }
    }

    /// The server's standard output is a pipe that is not read.
    pub(crate) fn with_unread_stdout(self) -> Self {
        Self { stdout: Stdout::Unread, ..self }
    }
}
