//! Tests of the fakes, with the AWS SDK's clients and with plain requests of the same form.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod client;
mod dynamodb;
mod event_source_mapping;
mod faults;
mod long_polling;
mod sdk;
mod sqs;
