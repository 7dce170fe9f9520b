//! The invocation table and the delayed queue on SQL databases.
//!
//! [`sqlite`] keeps both in one file that one process owns: for one machine and for development. [`mysql`]
//! keeps them in a database that any number of processes share.
//!
//! Both are the same writer (`writer`, asked by `client`) and the same rules (`rules`, for many changes at a
//! time `change`) over different statements.
#![deny(missing_docs)]

mod client;
pub mod mysql;
mod request;
mod rows;
mod rules;
pub mod sqlite;
mod store;
mod transaction;
mod writer;

pub use store::{QueueDepth, Store};
