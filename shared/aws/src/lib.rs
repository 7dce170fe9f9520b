//! The cloud's stores: the ports of the framework on DynamoDB and SQS, and secret settings from Secrets Manager.
#![deny(missing_docs)]

mod clients;
pub mod dynamodb;
pub mod secret;
pub mod sqs;
mod unavailable;

pub use clients::{Clients, ClientsError};
