//! What the four Lambda functions consist of.
//!
//! A function's `main` is one call: [`function::invoke`], [`function::callback`], [`function::poll_tick`] or
//! [`function::meta`].
#![deny(missing_docs)]

pub mod batch;
pub mod function;
mod http;
mod log;
pub mod settings;
