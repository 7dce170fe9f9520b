//! One step, from a claimed record to its result. No store is touched here.

use std::panic::Location;
use std::sync::Arc;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::record::{Deadline, Record, State};
use bk_plugin_core::table::Commit;
use bk_plugin_kit::runtime::{Failure, StepFacts, StepInput, StepOutcome, StepState, Version};
use bk_plugin_kit::{Callback, CallbackWait, Event, Next};
use futures::future::{Either, select};

use super::EngineCall;
use super::phase::Phase;
use super::pitfalls::Pitfall;
use crate::author_threads::{AuthorTask, Lost, Owner};

/// The result of a step, to be written.
pub(super) struct StepResult {
    pub(super) next: Option<Next>,
    pub(super) storage: Option<serde_json::Value>,
    pub(super) outputs: Option<serde_json::Value>,
    pub(super) err: String,
}

/// No code of the step was run, and this process will not run it now: why.
#[derive(Debug, thiserror::Error)]
#[error("the step was not started: {0}")]
pub(super) struct NotStarted(String);

impl StepResult {
    /// A FAIL that keeps the state of the step before.
    pub(super) fn fail(err: String) -> Self {
        Self { next: None, storage: None, outputs: None, err: bounded(err) }
    }

    fn of(outcome: StepOutcome, phase: Phase) -> Self {
        let (next, StepState { storage, outputs, .. }, err) = match outcome {
            StepOutcome::Next(next, state) => (Some(next), state, String::new()),
            StepOutcome::Failed(failure, state) => (None, state, bounded(phase.failed(&failure.message))),
            StepOutcome::Unexpected(failure) => return Self::fail(phase.unexpected(&failure.message)),
            StepOutcome::Invalid(message) => return Self::fail(phase.invalid(message)),
        };
        Self { next, storage: Some(storage), outputs: Some(outputs), err }
    }

    pub(super) fn state(&self) -> State {
        match self.next {
            Some(Next::Done) => State::Success,
            Some(Next::Poll(_)) => State::Poll,
            Some(Next::Callback(_)) => State::Callback,
            None => State::Fail,
        }
    }

    /// The end of the wait that begins `now`.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Deadline> {
        match self.next {
            Some(Next::Callback(CallbackWait::OrFail(timeout))) => {
                Some(Deadline { at: now + timeout, run: false })
            }
            Some(Next::Callback(CallbackWait::OrRun(timeout))) => {
                Some(Deadline { at: now + timeout, run: true })
            }
            Some(Next::Poll(interval)) => Some(Deadline { at: now + interval, run: true }),
            Some(Next::Callback(CallbackWait::Forever) | Next::Done) | None => None,
        }
    }
}

/// Bytes of an error's text that are stored: a record that holds nothing but an error must always fit.
const LONGEST_ERR: usize = 16 * 1024;

fn bounded(mut err: String) -> String {
    err.truncate(err.floor_char_boundary(LONGEST_ERR));
    err
}

impl EngineCall<'_> {
    /// Runs the step that a claimed record waits for. What the step is given is moved out of the record: the commit
    /// needs none of it.
    pub(super) async fn run_claimed(
        &self,
        record: &mut Record,
        until_dropped: impl Send + 'static,
    ) -> Result<StepResult, NotStarted> {
        let event = match (record.state, record.inbox.first_mut(), record.deadline) {
            (State::Callback, Some(entry), _) => Event::Called(Callback::new(
                record.trace_id.clone(),
                entry.callback_id.clone(),
                entry.data.take(),
            )),
            (State::Callback, None, Some(Deadline { run: true, .. })) => Event::TimedOut,
            (State::Callback, None, _) => {
                let err = Phase::Schedule.failed("no callback came in the time given for it");
                return Ok(StepResult::fail(err));
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
        let Some(version) = self.engine.registry().version(&record.plugin_version) else {
            let message = format!("version {} is not deployed any more", record.plugin_version);
            return Ok(StepResult::fail(Phase::Schedule.failed(&message)));
        };
        self.run(version, input, Phase::Schedule, until_dropped).await
    }

    /// The facts of the record's next step.
    pub(super) fn facts(&self, record: &Record, event: Event) -> StepFacts {
        StepFacts {
            trace_id: record.trace_id.clone(),
            invoke_count: record.invoke_count + 1,
            event,
            caller: record.caller.clone(),
            started_at: record.created_at,
            host: self.engine.urls.clone(),
            prepared: 0,
        }
    }

    /// Runs `execute` within the step's time limit. `until_dropped` is dropped after the author's future, which may be
    /// long after this returns: code that does not await cannot be stopped.
    pub(super) async fn run(
        &self,
        version: &Arc<dyn Version>,
        input: StepInput,
        phase: Phase,
        until_dropped: impl Send + 'static,
    ) -> Result<StepResult, NotStarted> {
        let meta = version.meta();
        let (limit, begun) = (self.step_time_limit(&meta), self.clock().now());
        let invoke_count = input.facts.invoke_count;
        let called = matches!(input.facts.event, Event::Called(_));
        let running = self.engine.counts_running.then(|| phase.begin(meta.version));
        let span = self.step_span(meta.version, &input.facts);
        let of_step = Arc::clone(version);
        let step = self.start(Owner::Version(meta.version), span.clone(), async move {
            tracing::debug!("plugin start execute");
            let outcome = of_step.step(input).await;
            drop(until_dropped);
            outcome
        });
        let outcome = match select(step, self.clock().sleep(limit)).await {
            Either::Left((Ok(outcome), _)) => outcome,
            Either::Left((Err(Lost::Panicked(text)), _)) => {
                StepOutcome::Unexpected(Failure::nowhere(format!("panicked: {text}")))
            }
            Either::Left((Err(lost), _)) => return Err(NotStarted(lost.to_string())),
            Either::Right(((), step)) if !step.has_started() => {
                return Err(NotStarted(format!("no thread was free for {} s", limit.as_secs_f64())));
            }
            Either::Right(_) => StepOutcome::Unexpected(Failure::nowhere(format!(
                "the step took longer than its time limit of {} s",
                limit.as_secs_f64()
            ))),
        };
        span.in_scope(|| {
            log_end(&outcome);
            Pitfall::of(invoke_count, &outcome).into_iter().for_each(Pitfall::warn);
        });
        drop(running);
        phase.count(meta.version, self.clock().now().since(begun), &outcome, called);
        Ok(StepResult::of(outcome, phase))
    }

    /// Starts the author's code where the host runs it.
    fn start<T: Send + 'static>(
        &self,
        owner: Owner,
        span: tracing::Span,
        step: impl Future<Output = T> + Send + 'static,
    ) -> AuthorTask<T> {
        match self.engine.author_threads() {
            Some(threads) => threads.spawn(owner, span, step),
            None => AuthorTask::in_place(owner, span, step),
        }
    }

    /// The commit that writes the result of a step.
    pub(super) fn commit_of(&self, ended: StepResult, record: &Record, now: Timestamp) -> Commit {
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
            expires_at: state.is_finished().then(|| now + self.limits().keep_finished),
            inbox_len: (state == State::Callback).then_some(record.inbox.len()),
        }
    }
}

fn log_end(outcome: &StepOutcome) {
    if !matches!(outcome, StepOutcome::Next(..)) {
        // For a trace; the log has the line below.
        tracing::Span::current().record("otel.status_code", "ERROR");
    }
    match outcome {
        StepOutcome::Next(Next::Done, _) => tracing::info!("plugin execute success"),
        StepOutcome::Next(Next::Poll(interval), _) => {
            tracing::info!(interval_seconds = interval.as_secs_f64(), "plugin wait poll");
        }
        StepOutcome::Next(Next::Callback(_), _) => tracing::info!("plugin wait callback"),
        StepOutcome::Failed(Failure { message, at }, _) => {
            let (pathname, lineno) = (at.map(Location::file), at.map(Location::line));
            tracing::warn!(pathname, lineno, "plugin execute failed: {message}");
        }
        StepOutcome::Unexpected(Failure { message, at }) => {
            let (pathname, lineno) = (at.map(Location::file), at.map(Location::line));
            tracing::error!(pathname, lineno, "plugin execute raise unexpected error: {message}");
        }
        StepOutcome::Invalid(message) => tracing::warn!("{message}"),
    }
}
