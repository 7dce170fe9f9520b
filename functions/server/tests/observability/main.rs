//! Observability of the real binary: metrics, log files, traces.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod caller;
mod collector;
#[path = "../common/mod.rs"]
mod common;
mod log_files;
mod metrics;
mod traces;
