//! The function that makes a project, as authors write it.

use std::fmt::Display;
use std::future::{Future, ready};

use crate::project::Project;

/// A function that makes a project: it may be async, and it may return a `Result`.
///
/// A host takes the function instead of the project, so that log, TLS and settings are there, and the runtime is entered,
/// before the author's code runs. `Kind` is found by the compiler: it keeps functions that return a project and functions
/// that return a future of one apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function that makes a project",
    label = "pass a function such as `fn project() -> Project`, without calling it",
    note = "the function may be async, and may return `Result<Project, E>` with an error that can be displayed"
)]
pub trait MakeProject<Kind> {
    /// Makes the project. The error is the author's, as text.
    fn make(self) -> impl Future<Output = Result<Project, String>>;
}

/// The kind of functions that return a project.
pub struct Blocking;

/// The kind of functions that return a future of a project.
pub struct Async;

/// What such a function returns: a project, or maybe one.
pub trait MaybeProject {
    /// The project, or what the author says is wrong.
    fn into_result(self) -> Result<Project, String>;
}

impl MaybeProject for Project {
    fn into_result(self) -> Result<Project, String> {
        Ok(self)
    }
}

impl<E: Display> MaybeProject for Result<Project, E> {
    fn into_result(self) -> Result<Project, String> {
        // The alternate form of an `anyhow::Error` has its causes.
        self.map_err(|error| format!("{error:#}"))
    }
}

impl<F, M> MakeProject<Blocking> for F
where
    F: FnOnce() -> M,
    M: MaybeProject,
{
    fn make(self) -> impl Future<Output = Result<Project, String>> {
        ready(self().into_result())
    }
}

impl<F, Fut> MakeProject<Async> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output: MaybeProject>,
{
    async fn make(self) -> Result<Project, String> {
        self().await.into_result()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn plain() -> Project {
        Project::new("plain")
    }

    async fn waits() -> Project {
        Project::new("async")
    }

    fn fails() -> Result<Project, &'static str> {
        Err("version 1.0.0: DEPLOY_URL is not set")
    }

    async fn waits_and_fails() -> Result<Project, crate::Error> {
        Err(crate::Error::fail("no database"))
    }

    fn made<Kind>(project: impl MakeProject<Kind>) -> Result<(), String> {
        project.make().now_or_never().expect("nothing is waited for").map(drop)
    }

    #[test]
    fn every_kind_of_function_will_do() {
        assert_eq!(made(plain), Ok(()));
        assert_eq!(made(waits), Ok(()));
        assert_eq!(made(fails), Err("version 1.0.0: DEPLOY_URL is not set".to_owned()));
        assert_eq!(made(waits_and_fails), Err("no database".to_owned()));
        assert_eq!(made(|| Project::new("a closure")), Ok(()));
    }
}
