//! Deletes finished records that have expired.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_sql::Store;

const EVERY: Duration = Duration::from_mins(10);
/// Records that are deleted at once: few enough that a batch delays no step noticeably.
const AT_ONCE: u32 = 500;

/// Deletes expired records every ten minutes, until the future is dropped.
pub(crate) async fn keep(store: Arc<dyn Store>) {
    loop {
        match delete_all_expired(&*store).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "finished records deleted, their time was over"),
            Err(error) => tracing::warn!(%error, "finished records could not be deleted, later again"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn delete_all_expired(store: &dyn Store) -> Result<u64, bk_plugin_core::store_error::StoreError> {
    let mut deleted = 0;
    loop {
        let batch = store.delete_expired(store.clock().now(), AT_ONCE).await?;
        deleted += batch;
        if batch < u64::from(AT_ONCE) {
            return Ok(deleted);
        }
    }
}
