//! What a function writes to CloudWatch: its log as lines of JSON, and its metrics in the Embedded Metric Format.

use std::io;

use bk_plugin_service::json_lines::JsonLines;
use bk_plugin_service::panics;
use bk_plugin_service::settings::Reader;
use metrics::Unit;
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sets the log up for the whole process, by `BK_PLUGIN_LOG`.
pub(crate) fn install(reader: &mut Reader<'_>) {
    let level = bk_plugin_service::settings::log(reader);
    install_at(level);
}

fn install_at(level: Targets) {
    // Written at once, not by a thread of its own: a function that has answered is frozen.
    let lines = JsonLines::new(io::stdout).with_filter(level);
    // A second function in one process (a test) keeps the log of the first.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    panics::log_panics();
}

/// The metrics of a function: they are written when an event has been handled.
#[derive(Clone, Copy)]
pub(crate) struct Metrics(Option<&'static Collector>);

impl Metrics {
    /// Counts from now on, in the namespace `BK_PLUGIN_METRICS_NAMESPACE`.
    pub(crate) fn install(reader: &Reader<'_>) -> Self {
        let namespace = reader.text("BK_PLUGIN_METRICS_NAMESPACE").unwrap_or_else(|| "BkPlugin".to_owned());
        let collector = Builder::new().cloudwatch_namespace(namespace).init().ok();
        bk_plugin_engine::metrics::describe(Some(Unit::Seconds));
        Self(collector)
    }

    /// Counts nothing.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Writes what was counted. Nobody is there to be told that it cannot be written.
    pub(crate) fn flush(self) {
        if let Some(collector) = self.0 {
            let _ = collector.flush(io::stdout().lock());
        }
    }
}
