//! The SQLite store against the contract of its ports, through its public interface.

mod fixture;
mod opening;
mod queue;
mod table;
mod trouble;
