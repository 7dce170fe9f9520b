//! How a store behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::Clock;

/// How a [`SqliteStore`](super::SqliteStore) behaves.
#[derive(Clone)]
pub struct SqliteOptions {
    /// How long a received message is hidden from other receivers. Default: 60 seconds.
    pub visibility_timeout: Duration,
    /// Bytes that the JSON of one record may have, its inbox included. Default: 4 MiB.
    pub largest_record: usize,
    /// The clock of the store, for tests. Default: a time of the store's own, which begins with the machine's.
    pub clock: Option<Arc<dyn Clock>>,
    /// The crashes that an answered write survives. Default: [`Durability::PowerLoss`].
    pub durability: Durability,
}

/// The crashes that an answered write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the machine: each transaction is flushed to the disk before it is answered.
    PowerLoss,
    /// A crash of the process only. After a crash of the machine the latest transactions may be missing, but each
    /// is there as a whole or not at all.
    ProcessCrash,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_mins(1),
            largest_record: 4 * 1024 * 1024,
            clock: None,
            durability: Durability::PowerLoss,
        }
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("visibility_timeout", &self.visibility_timeout)
            .field("largest_record", &self.largest_record)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
