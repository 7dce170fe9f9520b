//! The real engine and the real HTTP handlers in a simulated world.
//!
//! Each world has one invocation, and one seed decides everything in it: what the plugin does, when callers
//! call back, how long every effect takes, which effects fail, which processes die before or after them, what
//! the clocks show. A world runs on one thread with paused time, so the same seed gives the same run.
//! Identifiers are random and influence nothing.
//!
//! While a world runs, every effect is followed by a check that an unfinished invocation can still be woken.
//! When the world is over, its result is compared with that of a model that knows nothing of the engine
//! (`model.rs`). A crowd (`crowd.rs`) is another kind of world, of many invocations. [`Mutation`]s break the protocol on purpose, to prove that the checks notice.

mod crowd;
mod machines;
mod model;
mod mutation;
mod outside;
mod plugin;
mod ports;
mod releases;
mod run;
mod script;
mod world;

pub use crowd::{CrowdOutcome, run_crowd};
pub use mutation::Mutation;
pub use run::{Outcome, minimal, run};
pub use world::Options;
