//! Taking over an invocation that another framework began.

use bk_plugin_core::record::{Record, State};
use bk_plugin_core::store_error::StoreError;

use super::Engine;
use super::invoke::finish_callback;

/// What became of an invocation that was to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    /// It goes on here.
    Done,
    /// It is here already; it was left as it is.
    AlreadyHere,
    /// Its version is not here, so it was left alone: its next step would end in FAIL.
    UnknownVersion,
}

impl Engine {
    /// Takes over an invocation whose latest step was run elsewhere: in POLL it is run at once, in CALLBACK it
    /// waits for its callback. Whoever ran it before must not go on with it. Where its finish callback goes is read
    /// from its context.
    pub async fn take_over(&self, record: Record) -> Result<TakeOver, StoreError> {
        let Some(version) = self.registry.version(&record.plugin_version) else {
            return Ok(TakeOver::UnknownVersion);
        };
        // It was checked when the invocation began.
        let finish_callback = finish_callback(version.meta().enable_plugin_callback, &record.context);
        let record = Record { finish_callback: finish_callback.ok().flatten(), ..record };
        let wake_at = (record.state == State::Poll).then(|| self.clock.now());
        let written = self.write_new(&record, wake_at, self.patience()).await?;
        Ok(if written { TakeOver::Done } else { TakeOver::AlreadyHere })
    }
}
