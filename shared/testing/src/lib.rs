//! For tests of plugins: a [`Harness`] drives a version through its steps with virtual time and scripted callbacks,
//! without a server.
#![deny(missing_docs)]

mod harness;

pub use bk_plugin_core::record::State;

pub use harness::{Harness, Run};
