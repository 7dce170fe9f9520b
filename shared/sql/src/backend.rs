//! What a store asks of a database besides changes.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::store_error::StoreError;

use crate::rows::StoredRecord;
use crate::store::QueueDepth;

/// A database as its readers see it. They have connections of their own and never wait for the writer.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Records that one transaction deletes at most. The steps that come after it wait for it.
    const EXPIRED_AT_ONCE: u32;

    /// The record as of the latest commit.
    fn read(
        &self,
        trace_id: &TraceId,
    ) -> impl Future<Output = Result<Option<StoredRecord>, StoreError>> + Send;

    /// The plugin version of an invocation; empty in a stub.
    fn version_of(
        &self,
        trace_id: &TraceId,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// How many messages there are at `now`.
    fn queue_depth(&self, now: Timestamp) -> impl Future<Output = Result<QueueDepth, StoreError>> + Send;

    /// Closes the connections that read.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
