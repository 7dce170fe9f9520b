//! The file as its readers see it.

use std::fmt;
use std::path::{Path, PathBuf};

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::store_error::StoreError;
use sqlx::SqlitePool;

use super::{queue, table};
use crate::backend::Backend;
use crate::rows::StoredRecord;
use crate::sql_store::SqlStore;
use crate::store::QueueDepth;
use crate::store_error::store_error;

/// The invocation table and the delayed queue in one SQLite file. Closing it releases the file for another
/// process.
pub type SqliteStore = SqlStore<SqliteBackend>;

/// The readers of a [`SqliteStore`].
pub struct SqliteBackend {
    path: PathBuf,
    readers: SqlitePool,
}

impl SqliteBackend {
    pub(super) fn new(path: PathBuf, readers: SqlitePool) -> Self {
        Self { path, readers }
    }
}

impl SqliteStore {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.backend().path
    }
}

impl Backend for SqliteBackend {
    /// Only this process's steps wait, and its housekeeping asks for little at a time.
    const EXPIRED_AT_ONCE: u32 = u32::MAX;

    async fn read(&self, trace_id: &TraceId) -> Result<Option<StoredRecord>, StoreError> {
        table::stored_record(&self.readers, trace_id).await.map_err(store_error)
    }

    async fn version_of(&self, trace_id: &TraceId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT plugin_version FROM invocations WHERE trace_id = ?1";
        let version = sqlx::query_scalar(sql).bind(trace_id.as_str());
        version.fetch_optional(&self.readers).await.map_err(store_error)
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        queue::depth(&self.readers, now).await.map_err(store_error)
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBackend").field("path", &self.path).finish_non_exhaustive()
    }
}
