//! Taking over an invocation that another framework began.

use bk_plugin_core::record::{Record, State};
use bk_plugin_core::store_error::StoreError;

use super::EngineCall;
use super::invoke::finish_callback;

/// What became of an invocation that the engine was asked to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    /// It continues here.
    Done,
    /// The table has it already; the record was left as it is.
    AlreadyHere,
    /// This project does not have its version, so it was left alone: its next step would end in FAIL.
    UnknownVersion,
}

impl EngineCall<'_> {
    /// Takes over an invocation whose latest step was run by another framework: in POLL its next step runs at once, in
    /// CALLBACK it waits for its callback. The other framework must have stopped running it. The address of its
    /// finish callback is read from its context.
    pub async fn take_over(&self, record: Record) -> Result<TakeOver, StoreError> {
        let Some(version) = self.engine.registry().version(&record.plugin_version) else {
            return Ok(TakeOver::UnknownVersion);
        };
        // The context was checked when the invocation began.
        let finish_callback = finish_callback(version.meta().enable_plugin_callback, &record.context);
        let record = Record { finish_callback: finish_callback.ok().flatten(), ..record };
        let wake_at = (record.state == State::Poll).then(|| self.clock().now());
        let written = self.write_new(&record, wake_at, self.retry_deadline()).await?;
        Ok(if written { TakeOver::Done } else { TakeOver::AlreadyHere })
    }
}
