//! Taking over an invocation that another framework began.

use super::Engine;
use crate::record::{Record, State};
use crate::table::StoreError;

/// What became of an invocation that was to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// It goes on here.
    Now,
    /// It is here already; it was left as it is.
    Before,
    /// Its version is not here, so it was left alone: its next step would end in FAIL.
    UnknownVersion,
}

impl Engine {
    /// Takes over an invocation whose latest step was run elsewhere: in POLL it is run at once, in CALLBACK it
    /// waits for its callback. Whoever ran it before must not go on with it.
    pub async fn adopt(&self, record: &Record) -> Result<Adopted, StoreError> {
        if self.registry.get(&record.plugin_version).is_none() {
            return Ok(Adopted::UnknownVersion);
        }
        let wake_at = (record.state == State::Poll).then(|| self.clock.now());
        let written = self.write_new(record, wake_at, self.patience()).await?;
        Ok(if written { Adopted::Now } else { Adopted::Before })
    }
}
