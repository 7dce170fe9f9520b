//! Why the server does not start.

use std::io;
use std::path::PathBuf;

use bk_plugin_engine::callback_token::InvalidKey;
use bk_plugin_kit::ProjectErrors;
use bk_plugin_service::finish_callback_client::ClientError;
use bk_plugin_service::settings::SettingErrors;
use bk_plugin_sql::{mysql, sqlite};

/// Why the server does not start. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings are wrong or missing.
    #[error("settings are wrong: {0}")]
    Settings(#[from] SettingErrors),
    /// The author's function did not make the project; the message is the author's.
    #[error("{0}")]
    Author(String),
    /// The project cannot be served.
    #[error("the plugin project is wrong: {0}")]
    Project(#[from] ProjectErrors),
    /// The SQLite file cannot be opened.
    #[error(transparent)]
    Sqlite(#[from] sqlite::OpenError),
    /// The MySQL database cannot be opened.
    #[error(transparent)]
    Mysql(#[from] mysql::OpenError),
    /// The app secret for development cannot be kept in its file.
    #[error("{path}: the app secret for development cannot be kept there: {source}; set BKPAAS_APP_SECRET")]
    AppSecret {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A key for callback tokens is not valid.
    #[error("BK_PLUGIN_CALLBACK_KEY: {0}")]
    CallbackKey(#[from] InvalidKey),
    /// The client for finish callbacks cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The client that asks the gateway for its public key cannot be made.
    #[error(transparent)]
    Apigw(#[from] bk_plugin_apigw::client::ClientError),
    /// The server cannot listen on the port.
    #[error("cannot listen on {address}: {source}; set PORT or BK_PLUGIN_HOST")]
    Listen {
        /// The address and port.
        address: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The recorder of metrics cannot be installed.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The exporter of traces cannot be made.
    #[error("traces cannot be sent: {0}; see OTEL_GRPC_URL")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The threads of the authors' code cannot be started.
    #[error("cannot start the threads of the authors' code: {0}; see BK_PLUGIN_HELD_THREADS")]
    AuthorThreads(io::Error),
    /// The threads of the runtime or of the log cannot be started.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
}
