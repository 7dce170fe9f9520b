//! The doubles, called as the clients of the AWS SDK call them: with plain requests, and with those clients.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod client;
mod dynamodb;
mod event_source_mapping;
mod faults;
mod long_polling;
mod sdk;
mod sqs;
