//! First steps and later ones: the reference words their errors and counts them apart.

use std::time::Duration;

use bk_plugin_kit::runtime::StepOutcome;
use metrics::{Gauge, SharedString, counter, gauge, histogram};

use crate::metrics::{
    CALLBACK_EXCEPTION_COUNT, CALLBACK_TIME, EXECUTE_EXCEPTION_COUNT, EXECUTE_FAILED_COUNT,
    EXECUTE_RUNNING_PROCESSES, EXECUTE_TIME, SCHEDULE_EXCEPTION_COUNT, SCHEDULE_FAILED_COUNT,
    SCHEDULE_RUNNING_PROCESSES, SCHEDULE_TIME,
};

/// Whether a step is the first one, inside `invoke`, or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first.
    Execute,
    /// A later one.
    Schedule,
}

/// Counts a step as running until it is dropped, however the step ends.
pub(super) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Texts of errors.
impl Phase {
    pub(super) fn failed(self, message: &str) -> String {
        match self {
            Self::Execute => format!("plugin execute failed: {message}"),
            Self::Schedule => format!("plugin schedule failed: {message}"),
        }
    }

    pub(super) fn unexpected(self, message: &str) -> String {
        match self {
            Self::Execute => format!("plugin execute raise unexpected error: {message}"),
            Self::Schedule => format!("plugin schedule failed: {message}"),
        }
    }

    pub(super) fn invalid(self, message: String) -> String {
        match self {
            Self::Execute => message,
            Self::Schedule => format!("plugin schedule failed: {message}"),
        }
    }
}

/// Metrics.
impl Phase {
    /// Counts a step that begins.
    pub(super) fn begin(self, version: &'static str) -> Running {
        let name = self.pick(EXECUTE_RUNNING_PROCESSES, SCHEDULE_RUNNING_PROCESSES);
        let running = gauge!(name, "version" => version);
        running.increment(1);
        Running(running)
    }

    /// Counts a step that has ended. `called`: it was given a callback.
    pub(super) fn count(self, version: &'static str, took: Duration, outcome: &StepOutcome, called: bool) {
        histogram!(self.pick(EXECUTE_TIME, SCHEDULE_TIME), "version" => version).record(took);
        if called {
            histogram!(CALLBACK_TIME, "version" => version).record(took);
        }
        match outcome {
            StepOutcome::Next(..) => {}
            StepOutcome::Failed(..) | StepOutcome::Invalid(_) => {
                let name = self.pick(EXECUTE_FAILED_COUNT, SCHEDULE_FAILED_COUNT);
                counter!(name, "version" => version).increment(1);
            }
            StepOutcome::Unexpected(_) => {
                self.count_unexpected(version);
                if called {
                    counter!(CALLBACK_EXCEPTION_COUNT, "version" => version).increment(1);
                }
            }
        }
    }

    /// Counts an unexpected end.
    pub(super) fn count_unexpected(self, version: impl Into<SharedString>) {
        let name = self.pick(EXECUTE_EXCEPTION_COUNT, SCHEDULE_EXCEPTION_COUNT);
        counter!(name, "version" => version.into()).increment(1);
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

    use metrics::{Counter, Histogram, Key, KeyName, Metadata, Recorder, Unit};

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
    fn a_step_stops_counting_as_running_however_it_ends() {
        let gauge = OneGauge(Arc::default());
        let running = || f64::from_bits(gauge.0.load(Ordering::SeqCst)).to_string();
        metrics::with_local_recorder(&gauge, || {
            let one = Phase::Execute.begin("1.0.0");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _another = Phase::Execute.begin("1.0.0");
                assert_eq!(running(), "2");
                panic!("as a step may");
            }));
            assert!(panicked.is_err());
            assert_eq!(running(), "1");
            drop(one);
            assert_eq!(running(), "0");
        });
    }
}
