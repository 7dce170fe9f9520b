//! A table, a queue and a clock in memory, for tests of plugins and of the framework.

mod clock;
mod store;

pub use clock::ManualClock;
pub use store::MemoryStore;
