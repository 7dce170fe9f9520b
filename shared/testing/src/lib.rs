//! What tests of plugins and of the engine stand on: a clock that is set by hand, a table and a queue in
//! memory, and a [`Harness`] that drives a plugin through its steps with virtual time.

mod clock;
mod harness;
mod memory;

pub use clock::ManualClock;
pub use harness::{Harness, Run};
pub use memory::MemoryStore;
