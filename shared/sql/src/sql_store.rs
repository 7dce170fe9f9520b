//! The store, whatever its database: the writer makes changes, the backend reads.

mod queue;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::store_error::StoreError;

use crate::backend::Backend;
use crate::client::Client;
use crate::request::{DeleteExpired, Request};
use crate::store::{QueueDepth, Store};

/// The invocation table and the delayed queue in one SQL database. It is opened as a
/// [`SqliteStore`](crate::sqlite::SqliteStore) or a [`MysqlStore`](crate::mysql::MysqlStore).
pub struct SqlStore<B> {
    writer: Client,
    clock: Arc<dyn Clock>,
    backend: B,
    next_receiver: AtomicU64,
}

impl<B> SqlStore<B> {
    pub(crate) fn new(writer: Client, clock: Arc<dyn Clock>, backend: B) -> Self {
        Self { writer, clock, backend, next_receiver: AtomicU64::new(0) }
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }
}

#[async_trait]
impl<B: Backend> Store for SqlStore<B> {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    async fn delete_expired(&self, now: Timestamp, at_most: u32) -> Result<u64, StoreError> {
        let (mut deleted, mut left) = (0, at_most);
        while left > 0 {
            let at_most = left.min(B::EXPIRED_AT_ONCE);
            let request = |reply| Request::DeleteExpired(DeleteExpired { now, at_most, reply });
            let gone = self.writer.ask(request).await?;
            deleted += gone;
            left -= at_most;
            if gone < u64::from(at_most) {
                break;
            }
        }
        Ok(deleted)
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        self.backend.queue_depth(now).await
    }

    async fn close(&self) {
        // The writer closes last: the last connection to a SQLite file merges the log into it.
        self.backend.close().await;
        self.writer.close().await;
    }
}

impl<B: fmt::Debug> fmt::Debug for SqlStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("backend", &self.backend).finish_non_exhaustive()
    }
}
