//! How a store behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::Clock;

/// How a [`MysqlStore`](super::MysqlStore) behaves.
#[derive(Clone)]
pub struct MysqlOptions {
    /// How long a received message is hidden from other receivers. Default: 60 seconds.
    pub visibility_timeout: Duration,
    /// Bytes that the JSON of one record may have, its inbox included. Default: 4 MiB. If the server's
    /// `max_allowed_packet` is smaller, a record has to fit into that.
    pub largest_record: usize,
    /// The clock of the store, for tests. Default: a time of the store's own, which begins with the database server's.
    pub clock: Option<Arc<dyn Clock>>,
    /// How long opening waits for a database that does not answer. Default: one minute.
    pub patience: Duration,
}

/// Bytes of a packet that are reserved for the parts of a record that its size does not count: its error, its
/// names, its numbers.
const BESIDE_A_RECORD: usize = 192 * 1024;

impl MysqlOptions {
    /// The largest record that fits into a packet.
    pub(super) fn largest_record_in(&self, packet: usize) -> usize {
        self.largest_record.min(packet.saturating_sub(BESIDE_A_RECORD))
    }
}

impl Default for MysqlOptions {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_mins(1),
            largest_record: 4 * 1024 * 1024,
            clock: None,
            patience: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for MysqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlOptions")
            .field("visibility_timeout", &self.visibility_timeout)
            .field("largest_record", &self.largest_record)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
