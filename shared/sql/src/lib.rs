//! The invocation table and the delayed queue on SQL databases.
//!
//! [`sqlite`] keeps both in one file that one process owns: for one machine and for development.
#![deny(missing_docs)]

mod rows;
mod rules;
pub mod sqlite;
mod store;

pub use store::{QueueDepth, Store};
