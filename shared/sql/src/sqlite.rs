//! Table and queue in one SQLite file, owned by one process.
//!
//! All changes go through one task, the writer, which owns the only connection that writes. It takes
//! whatever waits for it, makes it in one transaction, and answers when that is on the disk: many callers
//! share one flush. Reads have connections of their own and never wait for it.

mod database;
mod open;
mod queue;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::{Clock, SystemClock, Timestamp};
use bk_plugin_kit::table::StoreError;
use sqlx::SqlitePool;

pub use open::OpenError;

use crate::client::Client;
use crate::writer::store_error;
use crate::{QueueDepth, Store};

/// How a [`SqliteStore`] behaves.
#[derive(Clone)]
pub struct SqliteOptions {
    /// How long a received message is hidden from other receivers. Default: 60 seconds.
    pub visibility_timeout: Duration,
    /// Bytes the JSON of one record, its inbox included, may have. Default: 4 MiB.
    pub largest_record: usize,
    /// The clock of the queue. Default: the machine's.
    pub clock: Arc<dyn Clock>,
    /// What an answered write outlives. Default: [`Durability::PowerLoss`].
    pub durability: Durability,
}

/// What an answered write outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the machine: each transaction is flushed to the disk before it is answered.
    PowerLoss,
    /// A crash of the process only: after one of the machine the latest writes may be gone, though never a
    /// part of one.
    ProcessCrash,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_mins(1),
            largest_record: 4 * 1024 * 1024,
            clock: Arc::new(SystemClock),
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

/// The invocation table and the delayed queue in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Client,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, which is made if it is not there, with the folders above it.
    ///
    /// The store is this process's alone until it is closed. Whoever had it before is dead or gone, so
    /// leases are taken off and messages that were being worked on can be received at once; their receive
    /// counts stay.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        open::open(path.as_ref(), options).await
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn delete_expired(&self, now: Timestamp, at_most: u32) -> Result<u64, StoreError> {
        self.writer.delete_expired(now, at_most).await
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        let depth = sqlx::query_as(queue::DEPTH).bind(now.as_millis()).fetch_one(&self.readers);
        depth.await.map_err(store_error)
    }

    /// It also gives the file free for another process.
    async fn close(&self) {
        // The writer closes last: the last connection of a file puts its log away.
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}
