//! Every metric the framework counts: names and labels are the reference's, so that dashboards made for it go
//! on working. A server shows them to Prometheus, Lambda functions write them in CloudWatch's Embedded Metric
//! Format.
//!
//! All have the label `version`, the plugin version. (The reference adds `hostname`, which a Prometheus server
//! adds as `instance`, and which would cost a metric of its own per process in CloudWatch.)

use std::time::Duration;

use metrics::{Unit, counter, describe_histogram, gauge, histogram};

/// Seconds a first step took.
pub const EXECUTE_TIME: &str = "bk_plugin_execute_time";
/// First steps that ended in the author's error, or whose inputs did not validate.
pub const EXECUTE_FAILED_COUNT: &str = "bk_plugin_execute_failed_count";
/// First steps that ended in any other error, a panic or by the time limit.
pub const EXECUTE_EXCEPTION_COUNT: &str = "bk_plugin_execute_exception_count";
/// First steps that are running.
pub const EXECUTE_RUNNING_PROCESSES: &str = "bk_plugin_execute_running_processes";
/// Seconds a later step took.
pub const SCHEDULE_TIME: &str = "bk_plugin_schedule_time";
/// Later steps that ended in the author's error.
pub const SCHEDULE_FAILED_COUNT: &str = "bk_plugin_schedule_failed_count";
/// Later steps that ended in any other error, a panic, by the time limit or as a dead letter.
pub const SCHEDULE_EXCEPTION_COUNT: &str = "bk_plugin_schedule_exception_count";
/// Later steps that are running.
pub const SCHEDULE_RUNNING_PROCESSES: &str = "bk_plugin_schedule_running_processes";

/// Tells whoever collects metrics their units. To be called once, when there is a collector.
pub fn describe() {
    describe_histogram!(EXECUTE_TIME, Unit::Seconds, "time a first step took");
    describe_histogram!(SCHEDULE_TIME, Unit::Seconds, "time a later step took");
}

/// Whether a step is the first one, inside `invoke`, or a later one: the reference counts them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepMetrics {
    /// The first.
    Execute,
    /// A later one.
    Schedule,
}

impl StepMetrics {
    /// A step has begun.
    pub(crate) fn begun(self, version: &str) {
        gauge!(self.pick(EXECUTE_RUNNING_PROCESSES, SCHEDULE_RUNNING_PROCESSES), "version" => version.to_owned())
            .increment(1);
    }

    /// A step that had begun has ended.
    pub(crate) fn ended(self, version: &str, took: Duration) {
        gauge!(self.pick(EXECUTE_RUNNING_PROCESSES, SCHEDULE_RUNNING_PROCESSES), "version" => version.to_owned())
            .decrement(1);
        histogram!(self.pick(EXECUTE_TIME, SCHEDULE_TIME), "version" => version.to_owned()).record(took);
    }

    /// It failed in the author's own words.
    pub(crate) fn failed(self, version: &str) {
        counter!(self.pick(EXECUTE_FAILED_COUNT, SCHEDULE_FAILED_COUNT), "version" => version.to_owned())
            .increment(1);
    }

    /// It failed unexpectedly.
    pub(crate) fn raised(self, version: &str) {
        counter!(self.pick(EXECUTE_EXCEPTION_COUNT, SCHEDULE_EXCEPTION_COUNT), "version" => version.to_owned())
            .increment(1);
    }

    fn pick(self, execute: &'static str, schedule: &'static str) -> &'static str {
        match self {
            Self::Execute => execute,
            Self::Schedule => schedule,
        }
    }
}
