//! The first step: it runs inside the caller's request and has no wake-up behind it.

use std::sync::Arc;

use bk_plugin_core::JsonObject;
use bk_plugin_core::caller::Caller;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::WakeUp;
use bk_plugin_core::record::{FinishCallback, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Write;
use bk_plugin_kit::runtime::{StepInput, Version};
use bk_plugin_kit::{Event, Next};
use serde_json::Value;
use tracing::Instrument as _;

use super::EngineCall;
use super::phase::Phase;
use super::step::StepResult;

/// The arguments of an invocation.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The inputs as they came.
    pub inputs: JsonObject,
    /// The context as it came.
    pub context: JsonObject,
    /// The caller.
    pub caller: Caller,
}

/// What the caller of `invoke` is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Invoked {
    /// POLL, CALLBACK, SUCCESS or FAIL.
    pub state: State,
    /// What the first step put out; null on FAIL, as in the reference.
    pub outputs: Value,
    /// Why it failed, if it did.
    pub err: Option<String>,
}

impl Invoked {
    fn fail(err: String) -> Self {
        Self { state: State::Fail, outputs: Value::Null, err: Some(err) }
    }
}

impl EngineCall<'_> {
    /// Begins an invocation of `version`: runs the first step and, if the invocation does not end there, writes its
    /// record. An invocation that ends in its first step writes nothing, as in the reference.
    ///
    /// An error says that the record could not be written; then there is no invocation.
    pub async fn invoke(
        self,
        version: &Arc<dyn Version>,
        trace_id: TraceId,
        call: Call,
    ) -> Result<Invoked, StoreError> {
        let meta = version.meta();
        let finish_callback = match finish_callback(meta.enable_plugin_callback, &call.context) {
            Ok(finish_callback) => finish_callback,
            Err(err) => return Ok(Invoked::fail(err)),
        };
        let mut record = Record {
            plugin_version: meta.version.to_owned(),
            finish_callback,
            caller: call.caller,
            trace: self.context.trace.clone(),
            ..Record::stub(trace_id, self.clock().now())
        };
        let first_step = self.first_step(&record, &call.inputs, &call.context);
        let entered = self.gate().enter().await;
        let ended = match self.run(version, first_step, Phase::Execute, entered).await {
            Ok(ended) => ended,
            Err(not_started) => {
                Phase::Execute.count_unexpected(meta.version);
                return Ok(Invoked::fail(Phase::Execute.unexpected(&not_started.to_string())));
            }
        };
        match ended.next {
            None => return Ok(Invoked::fail(ended.err)),
            Some(Next::Done) => {
                let outputs = ended.outputs.unwrap_or_default();
                return Ok(Invoked { state: State::Success, outputs, err: None });
            }
            Some(Next::Poll(_) | Next::Callback(_)) => {}
        }
        record.inputs = call.inputs;
        record.context = call.context;
        // Boxed: most invocations end above and should not carry room for what follows.
        let span = self.log_span(&record.trace_id);
        Box::pin(self.write_first_step(record, ended).instrument(span)).await
    }

    fn first_step(&self, record: &Record, inputs: &JsonObject, context: &JsonObject) -> StepInput {
        StepInput {
            facts: self.facts(record, Event::Invoked),
            inputs: inputs.clone(),
            context: context.clone(),
            storage: Value::Null,
            outputs: Value::Object(JsonObject::new()),
        }
    }

    /// Sends the wake-up that must follow, then writes the record.
    async fn write_first_step(&self, mut record: Record, ended: StepResult) -> Result<Invoked, StoreError> {
        let (now, until) = (self.clock().now(), self.retry_deadline());
        record.state = ended.state();
        record.invoke_count = 1;
        record.deadline = ended.deadline(now);
        record.storage = ended.storage.unwrap_or_default();
        record.outputs = ended.outputs.unwrap_or_default();
        let wake_at = record.deadline.map(|deadline| deadline.at);
        match self.write_new(&record, wake_at, until).await {
            // If it was not written now, an earlier attempt wrote it and was reported as failed.
            Ok(_written) => Ok(Invoked { state: record.state, outputs: record.outputs, err: None }),
            Err(error @ StoreError::TooLarge { .. }) => {
                Ok(Invoked::fail(format!("plugin execute raise unexpected error: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the wake-up that must follow, then writes the invocation's record, unless there is one. Returns whether
    /// it was written.
    pub(super) async fn write_new(
        &self,
        record: &Record,
        wake_at: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Some(wake_at) = wake_at {
            self.wake_next_step(record, wake_at, until).await?;
        }
        let mut inbox_len = (record.state == State::Callback).then_some(0);
        loop {
            match self.retry_until(until, || self.table().create(record, inbox_len)).await? {
                Write::Refused(Some(there)) if there.is_stub() => {
                    // The stub holds early callbacks, and the step they are for needs a wake-up.
                    self.wake_next_step(record, self.clock().now(), until).await?;
                    inbox_len = Some(there.inbox.len());
                }
                // The stub has expired and was deleted meanwhile.
                Write::Refused(None) => inbox_len = inbox_len.map(|_| 0),
                Write::Refused(Some(_)) => return Ok(false),
                Write::Applied => return Ok(true),
            }
        }
    }

    async fn wake_next_step(
        &self,
        record: &Record,
        due_at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let wake_up = WakeUp::for_step(record.trace_id.clone(), record.invoke_count, due_at);
        self.send_wake_up(WakeUp { group: record.group(), ..wake_up }, until).await
    }
}

/// Reads `plugin_callback_info` for a version that has finish callbacks enabled.
pub(super) fn finish_callback(enabled: bool, context: &JsonObject) -> Result<Option<FinishCallback>, String> {
    match context.get("plugin_callback_info") {
        Some(info) if enabled && !info.is_null() => serde::Deserialize::deserialize(info)
            .map(Some)
            .map_err(|error| format!("context validation error: plugin_callback_info: {error}")),
        _ => Ok(None),
    }
}
