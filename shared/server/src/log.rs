//! Logs: text on a terminal, JSON lines otherwise; also JSON lines in files, where a platform collects them.

use std::io::{self, BufWriter, IsTerminal as _};

use bk_plugin_service::json_lines::JsonLines;
use bk_plugin_service::protocol::InvocationLog;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt as _};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::line_writer::{LastLines, LineWriter};
use crate::log_files::LogFiles;
use crate::settings::ServerSettings;
use crate::start_error::StartError;
use crate::traces::Traces;

/// What a server keeps alive for its log.
pub(crate) struct Log {
    /// The log of each of the latest invocations, for `logs/<trace_id>`; in development only.
    pub(crate) invocations: Option<InvocationLog>,
    /// Write the remaining lines when they are dropped.
    _last_lines: Vec<LastLines>,
}

/// Sets log and traces up for the whole process.
pub(crate) fn install(settings: &ServerSettings, traces: Option<&Traces>) -> Result<Log, StartError> {
    let invocations = settings.shared.admission.is_development().then(InvocationLog::default);
    let (stdout, last_of_stdout) =
        LineWriter::start(BufWriter::with_capacity(64 * 1024, io::stdout())).map_err(StartError::Runtime)?;
    let (files, trouble) = match settings.log_files.as_ref().map(LogFiles::open).transpose() {
        Ok(files) => (files.map(LineWriter::start).transpose().map_err(StartError::Runtime)?, None),
        Err(trouble) => (None, Some(trouble)),
    };
    let (files, last_of_files) = files.unzip();
    let people = io::stdout().is_terminal();
    let text = people.then(|| {
        let stdout = stdout.clone();
        tracing_subscriber::fmt::layer().with_target(false).with_writer(move || stdout.clone())
    });
    let lines = one_writer((!people).then_some(stdout).into_iter().chain(files)).map(|writer| {
        JsonLines::new(writer).in_zone(settings.shared.time_zone.clone()).with_filter(settings.log.clone())
    });
    // A second server in one process (a test) keeps the log of the first.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(text.map(|layer| layer.with_filter(settings.log.clone())))
        .with(invocations.clone().map(|layer| layer.with_filter(settings.log.clone())))
        .with(traces.map(Traces::layer))
        .try_init();
    if let Some(trouble) = trouble {
        tracing::error!(error = %trouble, "no log files are written, standard output has the log");
    }
    let last_lines = std::iter::once(last_of_stdout).chain(last_of_files).collect();
    Ok(Log { invocations, _last_lines: last_lines })
}

/// The log of a one-time command: lines on standard error for the person who typed it, beside its output.
pub(crate) fn to_stderr(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false).with_writer(io::stderr);
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

fn one_writer(writers: impl Iterator<Item = LineWriter>) -> Option<BoxMakeWriter> {
    let mut writers = writers.map(|writer| BoxMakeWriter::new(move || writer.clone()));
    let first = writers.next()?;
    Some(writers.fold(first, |one, another| BoxMakeWriter::new(one.and(another))))
}
