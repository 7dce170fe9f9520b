//! The database as this process's readers see it.

use std::fmt;

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::store_error::StoreError;

use super::address::MysqlAddress;
use super::readers::Readers;
use super::time_limits::in_time;
use super::{queue, table};
use crate::backend::Backend;
use crate::rows::StoredRecord;
use crate::sql_store::SqlStore;
use crate::store::QueueDepth;

/// The invocation table and the delayed queue in one MySQL or MariaDB database.
pub type MysqlStore = SqlStore<MysqlBackend>;

/// The readers of a [`MysqlStore`].
pub struct MysqlBackend {
    address: MysqlAddress,
    pub(super) readers: Readers,
}

impl MysqlBackend {
    pub(super) fn new(address: MysqlAddress, readers: Readers) -> Self {
        Self { address, readers }
    }
}

impl MysqlStore {
    /// Where the database is.
    pub fn address(&self) -> &MysqlAddress {
        &self.backend().address
    }
}

impl Backend for MysqlBackend {
    /// Other processes that delete the same records wait, too.
    const EXPIRED_AT_ONCE: u32 = 50;

    async fn read(&self, trace_id: &TraceId) -> Result<Option<StoredRecord>, StoreError> {
        let mut reader = self.readers.lend().await?;
        let record = in_time(table::stored_record(&mut reader, trace_id)).await?;
        reader.give_back();
        Ok(record)
    }

    async fn version_of(&self, trace_id: &TraceId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT plugin_version FROM bk_plugin_invocations WHERE trace_id = ?";
        let mut reader = self.readers.lend().await?;
        let version = sqlx::query_scalar(sql).bind(trace_id.as_str()).fetch_optional(&mut *reader);
        let version = in_time(version).await?;
        reader.give_back();
        Ok(version)
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        let mut reader = self.readers.lend().await?;
        let depth = in_time(queue::depth(&mut reader, now)).await?;
        reader.give_back();
        Ok(depth)
    }

    async fn close(&self) {
        self.readers.close().await;
    }
}

impl fmt::Debug for MysqlBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlBackend").field("address", &self.address).finish_non_exhaustive()
    }
}
