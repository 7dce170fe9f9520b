//! The types that every other crate shares: records, messages and identifiers, and the ports to where they are kept.
//!
//! [`table::Table`] and [`queue::Queue`] are the two ports that a store implements; [`clock::Clock`] is the time. The
//! table holds [`record::Record`]s, the queue [`queue::Message`]s. The only I/O here is the machine's clock; [`memory`]
//! has a store for tests.
#![deny(missing_docs)]

pub mod back_off;
pub mod caller;
pub mod clock;
pub mod error_text;
pub mod ids;
mod json;
pub mod memory;
pub mod message_group;
pub mod python_json;
pub mod queue;
pub mod record;
pub mod store_error;
pub mod table;
pub mod trace_context;

pub use json::JsonObject;
