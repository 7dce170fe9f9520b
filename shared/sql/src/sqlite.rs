//! Table and queue in one SQLite file, owned by one process.
//!
//! All changes go through one task, the writer, which owns the only connection that writes. It takes the requests
//! that wait, makes them in one transaction, and replies when that is on the disk: many callers share one flush.
//! Reads have connections of their own and never wait for the writer.

mod backend;
mod counters;
mod database;
mod open;
mod options;
mod parameter;
mod queue;
mod table;

pub use backend::{SqliteBackend, SqliteStore};
pub use open::OpenError;
pub use options::{Durability, SqliteOptions};
