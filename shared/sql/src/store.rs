//! What a process needs of its store besides the engine's ports.

use std::sync::Arc;

use async_trait::async_trait;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::queue::Queue;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Table;

/// The invocation table and the delayed queue in one database.
#[async_trait]
pub trait Store: Table + Queue {
    /// The time of this store: all that is written to it goes by this clock.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Deletes up to `at_most` finished records and stubs that have expired at `now`, and returns how many it
    /// deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not accept the change now.
    async fn delete_expired(&self, now: Timestamp, at_most: u32) -> Result<u64, StoreError>;

    /// How many messages there are at `now`. It counts rows, so it is too slow to be called in every step.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not answer now.
    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError>;

    /// Finishes the requests that were made and closes the store. Waiting receivers get nothing; later calls get
    /// [`StoreError::Unavailable`].
    async fn close(&self);
}

/// Numbers of messages in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct QueueDepth {
    /// Messages that can be received now.
    #[sqlx(try_from = "i64")]
    pub due: u64,
    /// Messages that were never received and are due later.
    #[sqlx(try_from = "i64")]
    pub delayed: u64,
    /// Messages that a receiver holds and has not deleted yet.
    #[sqlx(try_from = "i64")]
    pub in_flight: u64,
    /// Messages that could not be read. They are kept, so that a person can look into them.
    #[sqlx(try_from = "i64")]
    pub dead_letters: u64,
}
