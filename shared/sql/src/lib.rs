//! The invocation table and the delayed queue on SQL databases.
//!
//! [`sqlite`] keeps both in one file that one process owns: for a single machine and for development. [`mysql`]
//! keeps them in a database that any number of processes share.
//!
//! Both are the same [`SqlStore`]. Changes go through its writer (`client` → `writer`), which makes many of them
//! in one transaction (`transaction`) by rules that know no database (`rules`). A database adds its statements:
//! those of the writer (`database`) and those that only read (`backend`).
#![deny(missing_docs)]

mod backend;
mod by_selection;
mod change;
mod client;
mod database;
mod message;
pub mod mysql;
mod reply;
mod request;
mod rows;
mod rules;
mod slot;
mod sql_store;
pub mod sqlite;
mod store;
mod store_clock;
mod store_error;
mod transaction;
mod writer;

pub use sql_store::SqlStore;
pub use store::{QueueDepth, Store};
