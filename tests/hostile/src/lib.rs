//! A plugin whose versions harm the process that runs them, innocent versions beside them, and trials that show what
//! becomes of both.
//!
//! `cargo run --package hostile` serves the versions. `cargo run --package hostile -- table` tries each offence on a
//! server of its own and prints the table of `docs/reliability.md`; `tests/contained.rs` asserts the facts of that
//! table without its figures.
#![deny(missing_docs)]

pub mod delay;
pub mod innocent;
pub mod offence;
pub mod offences;
pub mod outcome;
pub mod server;
pub mod trial;
pub mod versions;

use bk_plugin_kit::prelude::*;

/// Any reason why a trial cannot be held.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The project that the `hostile` binary serves.
pub fn project() -> Project {
    let project = Project::new("hostile versions, and innocent ones beside them")
        .version(innocent::Polls)
        .version(innocent::Echo);
    versions::add_to(project)
}
