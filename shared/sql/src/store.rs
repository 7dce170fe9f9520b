//! What a process asks of its store beside the ports of the engine.

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::Queue;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Table;

/// The invocation table and the delayed queue in one database.
#[async_trait]
pub trait Store: Table + Queue {
    /// Deletes up to `at_most` finished records and stubs whose time is over at `now`, and returns how many
    /// were deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not take it now.
    async fn delete_expired(&self, now: Timestamp, at_most: u32) -> Result<u64, StoreError>;

    /// How many messages there are at `now`. It counts rows: not to be asked for with every step.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not answer now.
    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError>;

    /// Finishes what was asked for and closes the store. Waiting receivers get nothing; later calls get
    /// [`StoreError::Unavailable`].
    async fn close(&self);
}

/// How many messages there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct QueueDepth {
    /// That can be received now.
    #[sqlx(try_from = "i64")]
    pub due: u64,
    /// That wait for their time.
    #[sqlx(try_from = "i64")]
    pub delayed: u64,
    /// That somebody has received and not deleted yet.
    #[sqlx(try_from = "i64")]
    pub in_flight: u64,
    /// That could not be read and are kept for whoever looks into it.
    #[sqlx(try_from = "i64")]
    pub dead_letters: u64,
}
