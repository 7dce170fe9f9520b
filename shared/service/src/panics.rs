//! Panics are lines of the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

use bk_plugin_kit::runtime::panic_text;

/// Logs every panic of the process from now on, with the file and line of the panic and the trace_id of the step
/// that it ends. (Rust's own message goes to standard error, which log panels do not read.)
pub fn log_panics() {
    panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let (pathname, lineno) =
        (info.location().map(panic::Location::file), info.location().map(panic::Location::line));
    // Captured only where RUST_BACKTRACE asks for it.
    let backtrace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
    let backtrace = backtrace.as_ref().map(tracing::field::display);
    tracing::error!(pathname, lineno, backtrace, "panicked: {}", panic_text(info.payload()));
}
