//! The functions in one process, over emulators of DynamoDB and SQS: what they do, what it costs in requests,
//! and what they make of failures of the services.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod batches;
mod cloud;
mod requests;
mod weather;
