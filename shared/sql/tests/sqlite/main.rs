//! The contract of the ports on SQLite, and what is SQLite's own: the file, locks, damage, group commit.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod clock;
mod contract;
mod fixture;
mod grouping;
mod opening;
mod queue;
mod table;
mod trouble;
