//! The real engine and the real HTTP handlers in a simulated world.
//!
//! One invocation a world, and everything in the world comes from one seed: what the plugin does, who calls
//! back when, how long every effect takes, which fail, which processes die before or after them, what the
//! clocks show. A world runs on one thread with paused time, so the same seed gives the same run; identifiers
//! are random and influence nothing.
//!
//! While it runs, every effect is followed by a check that whoever is unfinished can still be woken; when it
//! is over, a model that knows nothing of the engine (`model.rs`) says what must have come of it.
//! [`Mutation`]s break the protocol on purpose, to see that the checks notice.

mod machines;
mod model;
mod mutation;
mod outside;
mod plugin;
mod ports;
mod run;
mod script;
mod world;

pub use mutation::Mutation;
pub use run::{Outcome, minimal, run};
pub use world::Options;
