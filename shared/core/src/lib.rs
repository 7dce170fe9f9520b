//! The ground that every other crate stands on: what is stored, sent and named, and the ports to it.
//!
//! [`table::Table`] and [`queue::Queue`] are the two ports that a store implements; [`clock::Clock`] is the time.
//! [`record::Record`] is what stands in the table, [`queue::Message`] what is in the queue. There is no I/O here but
//! the machine's clock; [`memory`] has a store for tests.
#![deny(missing_docs)]

pub mod back_off;
pub mod caller;
pub mod clock;
pub mod error_text;
pub mod ids;
mod json;
pub mod memory;
pub mod queue;
pub mod record;
pub mod store_error;
pub mod table;
pub mod trace_context;

pub use json::JsonObject;
