//! The cloud: the ports of the kit on DynamoDB and SQS, and what the four Lambda functions are made of.
//!
//! A function's `main` is one call: [`function::invoke`], [`function::callback`], [`function::poll_tick`] or
//! [`function::meta`].
#![deny(missing_docs)]

mod clients;
pub mod dynamodb;
pub mod function;
mod http;
mod log;
pub mod poll_tick;
mod secret;
pub mod settings;
pub mod sqs;

pub use clients::{Clients, ClientsError};
