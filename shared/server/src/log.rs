//! Logs: text on a terminal, JSON lines otherwise; also JSON lines in files, where a platform collects them.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use bk_plugin_service::json_lines::JsonLines;
use bk_plugin_service::protocol::InvocationLog;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt as _};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_files::LogFiles;
use crate::settings::ServerSettings;
use crate::traces::Traces;

/// What a server keeps alive for its log.
pub(crate) struct Log {
    /// The log of each of the latest invocations, for `logs/<trace_id>`; in development only.
    pub(crate) invocations: Option<InvocationLog>,
    /// Write the remaining lines when they are dropped.
    _guards: Vec<WorkerGuard>,
}

/// Sets log and traces up for the whole process.
pub(crate) fn install(settings: &ServerSettings, traces: Option<&Traces>) -> Log {
    let invocations = settings.shared.admission.is_development().then(InvocationLog::default);
    let people = io::stdout().is_terminal();
    let stdout = (!people).then(stdout);
    let files = settings.log_files.as_ref().map(LogFiles::open).transpose();
    let (files, trouble) = match files {
        Ok(files) => (files.map(|file| on_a_thread(file, true)), None),
        Err(trouble) => (None, Some(trouble)),
    };
    let (writers, guards): (Vec<_>, Vec<_>) = [stdout, files].into_iter().flatten().unzip();
    let lines = one_writer(writers).map(|writer| {
        JsonLines::new(writer).in_zone(settings.shared.time_zone.clone()).with_filter(settings.log.clone())
    });
    let text = people.then(|| tracing_subscriber::fmt::layer().with_target(false));
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
    Log { invocations, _guards: guards }
}

/// The log of a one-time command: lines on standard error for the person who typed it, beside its output.
pub(crate) fn to_stderr(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false).with_writer(io::stderr);
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

/// Writes many lines at a time to standard output; none is dropped.
fn stdout() -> (NonBlocking, WorkerGuard) {
    on_a_thread(BufWriter::with_capacity(64 * 1024, io::stdout()), false)
}

/// Writes lines on a thread of its own. When that thread falls too far behind, lines are dropped if `dropped` is
/// true; otherwise the code that logs waits.
fn on_a_thread(writer: impl Write + Send + 'static, dropped: bool) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(dropped).finish(writer)
}

fn one_writer(writers: Vec<NonBlocking>) -> Option<BoxMakeWriter> {
    let mut writers = writers.into_iter();
    let first = BoxMakeWriter::new(writers.next()?);
    Some(writers.fold(first, |one, another| BoxMakeWriter::new(one.and(another))))
}
