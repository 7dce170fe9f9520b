//! Runs invocations, one step at a time: [`Engine`] has the rules, [`worker::Worker`] gives it the messages of a queue.
//!
//! There is no I/O here. Everything outside is behind the ports `Table`, `Queue` and `Clock` and behind
//! [`FinishCallbackClient`], so that tests run this engine over simulated ones.
#![deny(missing_docs)]

pub mod author_threads;
pub mod callback_token;
mod engine;
pub mod metered_store;
pub mod metrics;
pub mod suspects;
pub mod worker;

pub use engine::*;
