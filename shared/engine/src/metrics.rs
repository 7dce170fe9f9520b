//! Every metric the framework counts. Names and labels of those that the reference has are the reference's, so that
//! dashboards made for it go on working; the others tell of the queue and the store. A server shows them to Prometheus,
//! Lambda functions write them in CloudWatch's Embedded Metric Format.
//!
//! All that are about a step have the label `version`, the plugin version. (The reference's label `hostname` is added by
//! the server to every metric; in CloudWatch it would cost a metric of its own per process.)

use std::time::Duration;

use metrics::{KeyName, Unit, counter, gauge, histogram};

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
/// Seconds a step took that was given a callback; it is counted as a later step, too.
pub const CALLBACK_TIME: &str = "bk_plugin_callback_time";
/// Steps that were given a callback and ended in an error that is not the author's, a panic or by the time limit.
pub const CALLBACK_EXCEPTION_COUNT: &str = "bk_plugin_callback_exception_count";

/// Seconds from when a step was due until it was begun.
pub const WAKE_UP_LATENESS: &str = "bk_plugin_wake_up_lateness";
/// Invocations that were ended because their step kills whoever runs it.
pub const DEAD_LETTER_COUNT: &str = "bk_plugin_dead_letter_count";
/// Posts of finish callbacks; label `result`: `sent`, `failed`, `given_up`.
pub const FINISH_CALLBACK_COUNT: &str = "bk_plugin_finish_callback_count";
/// Messages in the queue; label `state`: `due`, `delayed`, `in_flight`.
pub const QUEUE_DEPTH: &str = "bk_plugin_queue_depth";
/// Messages that could not be read and are kept aside.
pub const DEAD_LETTERS: &str = "bk_plugin_dead_letters";
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

/// What kind of a metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Seconds, counted in buckets.
    Times,
}

/// Every metric: its name, its kind and what it tells.
pub const ALL: [(&str, Kind, &str); 17] = [
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
    (STORE_TIME, Kind::Times, "Seconds a call of the store took"),
    (STORE_ERROR_COUNT, Kind::Counter, "Calls that the store did not answer"),
];

/// Tells whoever collects metrics what they are. To be called once, when there is a collector. The unit of times is told
/// to those who show it; for Prometheus it would become part of the names.
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

/// A call of the store has ended, answered or not.
pub fn store_called(operation: &'static str, took: Duration, answered: bool) {
    histogram!(STORE_TIME, "operation" => operation).record(took);
    if !answered {
        store_failed(operation);
    }
}

/// The store did not answer.
pub fn store_failed(operation: &'static str) {
    counter!(STORE_ERROR_COUNT, "operation" => operation).increment(1);
}

/// A step has been begun that was due so long ago.
pub(crate) fn begun_late(by: Duration) {
    histogram!(WAKE_UP_LATENESS).record(by);
}

/// An invocation has been ended because its step kills whoever runs it.
pub(crate) fn dead_letter(version: &str) {
    counter!(DEAD_LETTER_COUNT, "version" => version.to_owned()).increment(1);
    StepMetrics::Schedule.raised(version);
}

/// What became of a post of a finish callback.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Post {
    /// It was taken.
    Sent,
    /// It is tried again, or given up.
    Failed,
    /// It was tried often enough.
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

/// Whether a step is the first one, inside `invoke`, or a later one: the reference counts them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepMetrics {
    /// The first.
    Execute,
    /// A later one.
    Schedule,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepEnd {
    /// With what comes next.
    Well,
    /// In the author's own words, or with inputs that do not validate.
    Failed,
    /// Unexpectedly.
    Raised,
}

/// A step that is running, until this is dropped: however it ends, it does not run any more.
pub(crate) struct Running(metrics::Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl StepMetrics {
    /// A step has begun.
    pub(crate) fn begun(self, version: &str) -> Running {
        let name = self.pick(EXECUTE_RUNNING_PROCESSES, SCHEDULE_RUNNING_PROCESSES);
        let running = gauge!(name, "version" => version.to_owned());
        running.increment(1);
        Running(running)
    }

    /// A step has come to its end; it was `called` if it was given a callback.
    pub(crate) fn ended(self, version: &str, took: Duration, end: StepEnd, called: bool) {
        histogram!(self.pick(EXECUTE_TIME, SCHEDULE_TIME), "version" => version.to_owned()).record(took);
        match end {
            StepEnd::Well => {}
            StepEnd::Failed => self.failed(version),
            StepEnd::Raised => self.raised(version),
        }
        if called {
            histogram!(CALLBACK_TIME, "version" => version.to_owned()).record(took);
            if end == StepEnd::Raised {
                counter!(CALLBACK_EXCEPTION_COUNT, "version" => version.to_owned()).increment(1);
            }
        }
    }

    fn failed(self, version: &str) {
        let name = self.pick(EXECUTE_FAILED_COUNT, SCHEDULE_FAILED_COUNT);
        counter!(name, "version" => version.to_owned()).increment(1);
    }

    fn raised(self, version: &str) {
        let name = self.pick(EXECUTE_EXCEPTION_COUNT, SCHEDULE_EXCEPTION_COUNT);
        counter!(name, "version" => version.to_owned()).increment(1);
    }

    fn pick(self, execute: &'static str, schedule: &'static str) -> &'static str {
        match self {
            Self::Execute => execute,
            Self::Schedule => schedule,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Counter, Gauge, Histogram, Key, Metadata, Recorder, SharedString};

    use super::*;

    /// Knows one gauge.
    struct OneGauge(Arc<AtomicU64>);

    impl Recorder for OneGauge {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::clone(&self.0))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_step_runs_no_more_however_it_ends() {
        let gauge = OneGauge(Arc::default());
        let running = || f64::from_bits(gauge.0.load(Ordering::SeqCst)).to_string();
        metrics::with_local_recorder(&gauge, || {
            let one = StepMetrics::Execute.begun("1.0.0");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _another = StepMetrics::Execute.begun("1.0.0");
                assert_eq!(running(), "2");
                panic!("as a step may");
            }));
            assert!(panicked.is_err());
            assert_eq!(running(), "1");
            drop(one);
            assert_eq!(running(), "0");
        });
    }

    #[test]
    fn every_metric_has_one_name() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
