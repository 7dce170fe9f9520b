//! What the author of a plugin writes with: one type a version, with typed inputs, outputs and storage, and one
//! `execute`.
//!
//! A version's file imports [`prelude`] and implements [`plugin::Plugin`]; a [`project::Project`] holds the versions
//! of a plugin. A server or a Lambda function runs them.
#![deny(missing_docs)]

pub mod context;
pub mod error;
pub mod event;
#[cfg(feature = "http")]
pub mod http;
pub mod next;
pub mod plugin;
pub mod prelude;
pub mod project;
#[doc(hidden)]
pub mod registry;
#[doc(hidden)]
pub mod runtime;
pub mod schema;
pub mod sops;
pub mod validation;
mod version;

pub use bk_plugin_core::JsonObject;
pub use bk_plugin_core::caller;
