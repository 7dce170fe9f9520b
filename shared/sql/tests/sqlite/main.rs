//! The SQLite store against the contract of its ports, through its public interface.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]
#![allow(clippy::needless_pass_by_value, reason = "checks read better around the call they check")]

mod fixture;
mod grouping;
mod opening;
mod queue;
mod table;
mod trouble;
