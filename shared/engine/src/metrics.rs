//! Every metric the framework counts. Those that the reference has keep its names and labels, so that dashboards made for
//! it go on working; the others are about the queue and the store. A server shows them to Prometheus, Lambda functions
//! write them in CloudWatch's Embedded Metric Format.
//!
//! Metrics of steps have the label `version`, the plugin version. (The server adds the reference's label `hostname` to
//! every metric; in CloudWatch it would cost a metric of its own per process.)

use std::time::Duration;

use metrics::{KeyName, Unit, counter, gauge, histogram};

/// Seconds a first step took.
pub const EXECUTE_TIME: &str = "bk_plugin_execute_time";
/// First steps that ended in the author's error, or whose inputs did not validate.
pub const EXECUTE_FAILED_COUNT: &str = "bk_plugin_execute_failed_count";
/// First steps that ended in any other error, in a panic or by the time limit.
pub const EXECUTE_EXCEPTION_COUNT: &str = "bk_plugin_execute_exception_count";
/// First steps that are running.
pub const EXECUTE_RUNNING_PROCESSES: &str = "bk_plugin_execute_running_processes";
/// Seconds a later step took.
pub const SCHEDULE_TIME: &str = "bk_plugin_schedule_time";
/// Later steps that ended in the author's error.
pub const SCHEDULE_FAILED_COUNT: &str = "bk_plugin_schedule_failed_count";
/// Later steps that ended in any other error, in a panic, by the time limit or as a dead letter.
pub const SCHEDULE_EXCEPTION_COUNT: &str = "bk_plugin_schedule_exception_count";
/// Later steps that are running.
pub const SCHEDULE_RUNNING_PROCESSES: &str = "bk_plugin_schedule_running_processes";
/// Seconds a step took that was given a callback. The step is counted as a later step, too.
pub const CALLBACK_TIME: &str = "bk_plugin_callback_time";
/// Steps that were given a callback and ended in an error that is not the author's, in a panic or by the time limit.
pub const CALLBACK_EXCEPTION_COUNT: &str = "bk_plugin_callback_exception_count";

/// Seconds from when a step was due until it began.
pub const WAKE_UP_LATENESS: &str = "bk_plugin_wake_up_lateness";
/// Invocations that were ended because their step crashes its process.
pub const DEAD_LETTER_COUNT: &str = "bk_plugin_dead_letter_count";
/// Posts of finish callbacks; label `result`: `sent`, `failed`, `given_up`.
pub const FINISH_CALLBACK_COUNT: &str = "bk_plugin_finish_callback_count";
/// Messages in the queue; label `state`: `due`, `delayed`, `in_flight`.
pub const QUEUE_DEPTH: &str = "bk_plugin_queue_depth";
/// Messages that could not be read and are kept aside.
pub const DEAD_LETTERS: &str = "bk_plugin_dead_letters";
/// Threads that author code has held for longer than a poll may take.
pub const HELD_THREADS: &str = "bk_plugin_held_threads";
/// Seconds a call of the store took; label `operation`.
pub const STORE_TIME: &str = "bk_plugin_store_time";
/// Calls that the store did not answer; label `operation`.
pub const STORE_ERROR_COUNT: &str = "bk_plugin_store_error_count";

/// Upper bounds of the buckets of histograms, in seconds: the reference's.
pub const BUCKETS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 25.0, 50.0, 75.0, 100.0,
];

/// Upper bounds of the buckets of [`STORE_TIME`]: a store answers sooner than a plugin.
pub const STORE_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0];

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Durations in seconds, counted in buckets.
    Times,
}

/// Every metric: its name, its kind and its description.
pub const ALL: [(&str, Kind, &str); 18] = [
    (EXECUTE_TIME, Kind::Times, "Seconds a first step took"),
    (EXECUTE_FAILED_COUNT, Kind::Counter, "First steps that the plugin failed, or with invalid inputs"),
    (EXECUTE_EXCEPTION_COUNT, Kind::Counter, "First steps that ended unexpectedly"),
    (EXECUTE_RUNNING_PROCESSES, Kind::Gauge, "First steps that are running"),
    (SCHEDULE_TIME, Kind::Times, "Seconds a later step took"),
    (SCHEDULE_FAILED_COUNT, Kind::Counter, "Later steps that the plugin failed"),
    (SCHEDULE_EXCEPTION_COUNT, Kind::Counter, "Later steps that ended unexpectedly"),
    (SCHEDULE_RUNNING_PROCESSES, Kind::Gauge, "Later steps that are running"),
    (CALLBACK_TIME, Kind::Times, "Seconds a step took that was given a callback"),
    (CALLBACK_EXCEPTION_COUNT, Kind::Counter, "Steps given a callback that ended unexpectedly"),
    (WAKE_UP_LATENESS, Kind::Times, "Seconds from when a step was due until it was begun"),
    (DEAD_LETTER_COUNT, Kind::Counter, "Invocations ended because their step kills its process"),
    (FINISH_CALLBACK_COUNT, Kind::Counter, "Posts of finish callbacks"),
    (QUEUE_DEPTH, Kind::Gauge, "Messages in the queue"),
    (DEAD_LETTERS, Kind::Gauge, "Messages that could not be read and are kept aside"),
    (HELD_THREADS, Kind::Gauge, "Threads that author code holds without awaiting"),
    (STORE_TIME, Kind::Times, "Seconds a call of the store took"),
    (STORE_ERROR_COUNT, Kind::Counter, "Calls that the store did not answer"),
];

/// Describes the metrics to the process's collector. To be called once, when there is one. The unit of times is for
/// collectors that show it; for Prometheus it would become part of the names.
pub fn describe(unit_of_times: Option<Unit>) {
    metrics::with_recorder(|recorder| {
        for (name, kind, told) in ALL {
            let (name, told) = (KeyName::from_const_str(name), told.into());
            match kind {
                Kind::Counter => recorder.describe_counter(name, None, told),
                Kind::Gauge => recorder.describe_gauge(name, None, told),
                Kind::Times => recorder.describe_histogram(name, unit_of_times, told),
            }
        }
    });
}

/// Counts a call of the store that has ended, answered or not.
pub fn store_called(operation: &'static str, took: Duration, answered: bool) {
    histogram!(STORE_TIME, "operation" => operation).record(took);
    if !answered {
        store_failed(operation);
    }
}

/// Counts a call that the store did not answer.
pub fn store_failed(operation: &'static str) {
    counter!(STORE_ERROR_COUNT, "operation" => operation).increment(1);
}

/// Counts by how much a step began late.
pub(crate) fn begun_late(version: &str, by: Duration) {
    histogram!(WAKE_UP_LATENESS, "version" => version.to_owned()).record(by);
}

/// Shows how many threads author code holds.
#[expect(clippy::cast_precision_loss, reason = "there are not so many threads")]
pub(crate) fn held_threads(count: usize) {
    gauge!(HELD_THREADS).set(count as f64);
}

/// Counts an invocation that was ended because its step crashes its process.
pub(crate) fn dead_letter(version: &str) {
    counter!(DEAD_LETTER_COUNT, "version" => version.to_owned()).increment(1);
}

/// What became of a post of a finish callback.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Post {
    /// The caller's system took it.
    Sent,
    /// An attempt failed.
    Failed,
    /// The last attempt failed.
    GivenUp,
}

impl Post {
    /// Counts it.
    pub(crate) fn count(self) {
        let result = match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        };
        counter!(FINISH_CALLBACK_COUNT, "result" => result).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_name() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
