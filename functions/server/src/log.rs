//! Logs: for people on a terminal, JSON lines otherwise.

use std::io::{self, BufWriter, IsTerminal as _};

use bk_plugin_kit::json_lines::JsonLines;
use bk_plugin_kit::protocol::InvocationLog;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::ServerSettings;

/// What a server holds on to for its log.
pub(crate) struct Log {
    /// The log of each of the latest invocations, for `logs/<trace_id>`; in development only.
    pub(crate) invocations: Option<InvocationLog>,
    /// Writes what is left when it is dropped.
    _guard: Option<WorkerGuard>,
}

/// Sets the log up for the whole process.
pub(crate) fn install(settings: &ServerSettings) -> Log {
    let invocations = settings.shared.admission.is_development().then(InvocationLog::default);
    let people = io::stdout().is_terminal();
    let (lines, guard) = if people { (None, None) } else { json_lines() };
    let text = people.then(|| tracing_subscriber::fmt::layer().with_target(false));
    // A second server in one process (a test) keeps the log of the first.
    let _ = tracing_subscriber::registry()
        .with(lines.map(|layer| layer.with_filter(settings.log.clone())))
        .with(text.map(|layer| layer.with_filter(settings.log.clone())))
        .with(invocations.clone().map(|layer| layer.with_filter(settings.log.clone())))
        .try_init();
    Log { invocations, _guard: guard }
}

/// Lines go to standard output by a thread of their own, many at a time; none is dropped.
fn json_lines() -> (Option<JsonLines<NonBlocking>>, Option<WorkerGuard>) {
    let stdout = BufWriter::with_capacity(64 * 1024, io::stdout());
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(stdout);
    (Some(JsonLines(writer)), Some(guard))
}
