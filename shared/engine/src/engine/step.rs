//! One step, from a claimed record to what is to be written: no store is touched here.

use futures::future::{Either, select};
use tracing::Instrument as _;

use super::Engine;
use crate::clock::Timestamp;
use crate::context::StepFacts;
use crate::metrics::{StepEnd, StepMetrics};
use crate::plugin::{Callback, CallbackWait, Event, Next};
use crate::record::{Deadline, Record, State};
use crate::table::Commit;
use crate::version::{StepInput, Stepped};

/// Whether a failed step is the first one; the reference words them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Execute,
    Schedule,
}

/// The end of a step.
pub(super) struct Ended {
    pub(super) next: Option<Next>,
    pub(super) storage: Option<serde_json::Value>,
    pub(super) outputs: Option<serde_json::Value>,
    pub(super) err: String,
}

impl Ended {
    /// A FAIL that keeps what the step before left.
    pub(super) fn fail(err: String) -> Self {
        Self { next: None, storage: None, outputs: None, err: bounded(err) }
    }

    fn from_stepped(stepped: Stepped, phase: Phase) -> Self {
        match stepped {
            Stepped::Next { next, storage, outputs } => {
                Self { next: Some(next), storage: Some(storage), outputs: Some(outputs), err: String::new() }
            }
            Stepped::Failed { message, storage, outputs } => Self {
                next: None,
                storage: Some(storage),
                outputs: Some(outputs),
                err: bounded(phase.failed(&message)),
            },
            Stepped::Unexpected { message } => Self::fail(phase.unexpected(&message)),
            Stepped::Invalid { message } => Self::fail(phase.invalid(message)),
        }
    }

    pub(super) fn state(&self) -> State {
        match self.next {
            Some(Next::Done) => State::Success,
            Some(Next::Poll(_)) => State::Poll,
            Some(Next::Callback(_)) => State::Callback,
            None => State::Fail,
        }
    }

    /// When the wait for a callback that begins `now` ends, if it does.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Deadline> {
        match self.next {
            Some(Next::Callback(CallbackWait::OrFail(timeout))) => {
                Some(Deadline { at: now + timeout, run: false })
            }
            Some(Next::Callback(CallbackWait::OrRun(timeout))) => {
                Some(Deadline { at: now + timeout, run: true })
            }
            _ => None,
        }
    }
}

/// As much of an error's text as is stored: a record that only holds an error must always fit.
const LONGEST_ERR: usize = 16 * 1024;

fn bounded(mut err: String) -> String {
    err.truncate(err.floor_char_boundary(LONGEST_ERR));
    err
}

impl Phase {
    fn metrics(self) -> StepMetrics {
        match self {
            Self::Execute => StepMetrics::Execute,
            Self::Schedule => StepMetrics::Schedule,
        }
    }

    fn failed(self, message: &str) -> String {
        match self {
            Self::Execute => format!("plugin execute failed: {message}"),
            Self::Schedule => format!("plugin schedule failed: {message}"),
        }
    }

    fn unexpected(self, message: &str) -> String {
        match self {
            Self::Execute => format!("plugin execute raise unexpected error: {message}"),
            Self::Schedule => format!("plugin schedule failed: {message}"),
        }
    }

    fn invalid(self, message: String) -> String {
        match self {
            Self::Execute => message,
            Self::Schedule => format!("plugin schedule failed: {message}"),
        }
    }
}

impl Engine {
    /// Runs the step that a claimed record waits for.
    pub(super) async fn run_claimed(&self, record: &mut Record) -> Ended {
        let event = match (record.state, record.inbox.first(), record.deadline) {
            (State::Callback, Some(entry), _) => {
                Event::Called(Callback::new(entry.callback_id.clone(), entry.data.clone()))
            }
            (State::Callback, None, Some(Deadline { run: true, .. })) => Event::TimedOut,
            (State::Callback, None, _) => {
                return Ended::fail(Phase::Schedule.failed("no callback came in the time given for it"));
            }
            _ => Event::Polled,
        };
        let input = StepInput {
            facts: self.facts(record, event),
            inputs: std::mem::take(&mut record.inputs),
            context: std::mem::take(&mut record.context),
            storage: record.storage.take(),
            outputs: record.outputs.take(),
        };
        self.run(&record.plugin_version, input, Phase::Schedule).await
    }

    /// The facts of the step that follows what is in the record.
    pub(super) fn facts(&self, record: &Record, event: Event) -> StepFacts {
        StepFacts {
            trace_id: record.trace_id.clone(),
            invoke_count: record.invoke_count + 1,
            event,
            caller: record.caller.clone(),
            urls: std::sync::Arc::clone(&self.urls),
            prepared: 0,
        }
    }

    /// Runs `execute` within the step's time limit.
    pub(super) async fn run(&self, plugin_version: &str, input: StepInput, phase: Phase) -> Ended {
        let Some(version) = self.registry.get(plugin_version) else {
            let message = format!("version {plugin_version} is not deployed any more");
            return Ended::fail(phase.failed(&message));
        };
        let (limit, begun) = (self.step_time_limit(), self.clock.now());
        let (metrics, called) = (phase.metrics(), matches!(input.facts.event, Event::Called(_)));
        // In a function, which handles one event at a time, it would be 0 whenever it is read, and be paid for.
        let running = self.occasion.end.is_none().then(|| metrics.begun(plugin_version));
        let span = self.step_span(plugin_version, &input.facts);
        let stepped = async {
            tracing::debug!("plugin start execute");
            let stepped = match select(version.step(input), self.clock.sleep(limit)).await {
                Either::Left((stepped, _)) => stepped,
                Either::Right(_) => Stepped::Unexpected {
                    message: format!("the step took longer than its time limit of {} s", limit.as_secs_f64()),
                },
            };
            log_end(&stepped);
            stepped
        };
        let stepped = stepped.instrument(span).await;
        drop(running);
        metrics.ended(plugin_version, self.clock.now().since(begun), StepEnd::of(&stepped), called);
        Ended::from_stepped(stepped, phase)
    }

    /// What is written of the end of a step.
    pub(super) fn commit_of(&self, ended: Ended, record: &Record, now: Timestamp) -> Commit {
        let (state, deadline) = (ended.state(), ended.deadline(now));
        Commit {
            state,
            invoke_count: record.invoke_count + 1,
            storage: ended.storage,
            outputs: ended.outputs,
            err: ended.err,
            deadline,
            consume: record.state == State::Callback && !record.inbox.is_empty(),
            owed: state.is_finished() && record.finish_callback.is_some(),
            finish_at: state.is_finished().then_some(now),
            expires_at: state.is_finished().then(|| now + self.limits.keep_finished),
            inbox_len: (state == State::Callback).then_some(record.inbox.len()),
        }
    }
}

impl StepEnd {
    fn of(stepped: &Stepped) -> Self {
        match stepped {
            Stepped::Next { .. } => Self::Well,
            Stepped::Failed { .. } | Stepped::Invalid { .. } => Self::Failed,
            Stepped::Unexpected { .. } => Self::Raised,
        }
    }
}

fn log_end(stepped: &Stepped) {
    if !matches!(stepped, Stepped::Next { .. }) {
        // For a trace; the line that follows is for the log.
        tracing::Span::current().record("otel.status_code", "ERROR");
    }
    match stepped {
        Stepped::Next { next: Next::Done, .. } => tracing::info!("plugin execute success"),
        Stepped::Next { next: Next::Poll(interval), .. } => {
            tracing::info!(interval_seconds = interval.as_secs_f64(), "plugin wait poll");
        }
        Stepped::Next { next: Next::Callback(_), .. } => tracing::info!("plugin wait callback"),
        Stepped::Failed { message, .. } => tracing::warn!("plugin execute failed: {message}"),
        Stepped::Unexpected { message } => {
            tracing::error!("plugin execute raise unexpected error: {message}");
        }
        Stepped::Invalid { message } => tracing::warn!("{message}"),
    }
}
