//! What every process has around the engine: the HTTP routes, the settings, the lines of the log, TLS, and the
//! client that posts finish callbacks.
#![deny(missing_docs)]

pub mod finish_callback_client;
pub mod json_lines;
pub mod panics;
pub mod protocol;
pub mod settings;
pub mod tls;
