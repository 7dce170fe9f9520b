//! The kit of the serverless edition of BlueKing's bk-plugin-framework.
//!
//! An author imports [`prelude`] and implements [`plugin::Plugin`]; a server or a Lambda function hands the
//! resulting [`project::Project`] to the engine and serves the protocol's routers.
#![deny(missing_docs)]

pub mod callback_token;
pub mod caller;
pub mod clock;
pub mod context;
pub mod engine;
pub mod error;
pub mod finish_callback_client;
pub mod ids;
pub mod json_lines;
pub mod metrics;
pub mod plugin;
pub mod prelude;
pub mod project;
pub mod protocol;
pub mod queue;
pub mod record;
pub mod schema;
pub mod settings;
pub mod sops;
pub mod table;
pub mod testing;
pub mod tls;
pub mod trace_context;
pub mod validation;
mod version;
pub mod worker;

/// The type of secrets in [`settings`]: it does not print.
pub use secrecy;

/// A JSON object that keeps the order of its keys.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
