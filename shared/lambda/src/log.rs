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

/// Sets up the log for the whole process, with the levels in `BK_PLUGIN_LOG`.
pub(crate) fn install(reader: &mut Reader<'_>) {
    let level = bk_plugin_service::settings::log(reader);
    install_at(level);
}

fn install_at(level: Targets) {
    // Lines are written at once, not by a thread: Lambda freezes a function that has answered.
    let lines = JsonLines::new(io::stdout).with_filter(level);
    // A second function in one process (a test) keeps the log of the first.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    panics::log_panics();
}

/// The metrics of a function: they are written after each event.
#[derive(Clone, Copy)]
pub(crate) struct Metrics(Option<&'static Collector>);

impl Metrics {
    /// Installs the recorder of metrics, in the namespace `BK_PLUGIN_METRICS_NAMESPACE`.
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

    /// Writes the metrics. A failure to write them cannot be reported anywhere.
    pub(crate) fn flush(self) {
        if let Some(collector) = self.0 {
            let _ = collector.flush(io::stdout().lock());
        }
    }
}
