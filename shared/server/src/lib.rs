//! The HTTP routers and the worker in one process, over one store.
//!
//! [`main`] is all a binary needs: it reads the settings, starts, and stops on SIGTERM or Ctrl-C after the running
//! steps have ended.
#![deny(missing_docs)]

mod apigw;
mod app_secret;
mod command_line;
mod connections;
mod health;
mod hostname;
mod housekeeping;
mod import_python;
mod line_writer;
mod log;
mod log_files;
mod metrics;
mod registry;
mod serve;
mod settings;
mod start_error;
mod store;
mod traces;

use std::io::Write as _;
use std::process::ExitCode;

use bk_plugin_engine::author_threads::AuthorThreads;
use bk_plugin_kit::runtime::MakeProject;
use clap::Parser as _;
use tokio::runtime::Runtime;

use crate::command_line::{Command, CommandLine};
use crate::traces::Traces;

pub use log_files::LogFiles;
pub use settings::ServerSettings;
pub use start_error::StartError;
pub use traces::TraceSettings;

/// Runs the command on the command line; without one, serves the project until a signal to stop.
///
/// `project` is the function that makes the project: `main(my_plugins::project)`. It may be async, and it may
/// return a `Result`: its error says why the server cannot start. It is called inside the runtime, after settings,
/// log and TLS are set up.
pub fn main<Kind>(project: impl MakeProject<Kind>) -> ExitCode {
    main_with(project, |name| std::env::var(name).ok())
}

/// Like [`main`], but reads the caller's variables instead of the environment's: for servers with their own
/// defaults.
pub fn main_with<Kind>(
    project: impl MakeProject<Kind>,
    variables: impl Fn(&str) -> Option<String>,
) -> ExitCode {
    let CommandLine { role, command } = CommandLine::parse();
    let variables = |name: &str| match (name, &role) {
        ("BK_PLUGIN_ROLE", Some(role)) => Some(role.clone()),
        _ => variables(name),
    };
    let (what, done) = match command {
        None => ("the server cannot start", start(project, &variables).map_err(|error| error.to_string())),
        Some(Command::Apigw { command }) => {
            let said = apigw::run(command, &variables).map(|text| say(&text));
            ("the gateway command failed", said.map_err(|error| error.to_string()))
        }
        Some(Command::ImportPython { dry_run }) => {
            let said = import_python::run(project, dry_run, &variables).map(|text| say(&text));
            ("the import failed", said.map_err(|error| error.to_string()))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be set up yet, and this message is for the person who typed the command.
            let _ = writeln!(std::io::stderr(), "{what}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the output of a command. A closed standard output is not an error: its reader has read enough.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn start<Kind>(
    project: impl MakeProject<Kind>,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<(), StartError> {
    let settings = ServerSettings::read(variables)?;
    bk_plugin_kit::http::trust(settings.shared.authorities.pem());
    let runtime = runtime()?;
    let traces = {
        let _within = runtime.enter();
        settings.traces.as_ref().map(Traces::start).transpose()?
    };
    let log = log::install(&settings, traces.as_ref())?;
    bk_plugin_service::panics::log_panics();
    let served = runtime.block_on(async {
        let threads =
            AuthorThreads::start(settings.shared.held_threads).map_err(StartError::AuthorThreads)?;
        let registry = threads.within(registry::registry(project)).await?;
        serve::serve(registry, threads, settings, &log).await
    });
    if let Some(traces) = traces {
        traces.stop();
    }
    served
}

fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Runtime)
}
