//! Time limits. A server can vanish silently, so no call of it waits without end.

use std::io;
use std::time::Duration;

use bk_plugin_core::store_error::StoreError;

use crate::store_error::store_error;

/// Time limit of a connection attempt.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Time limit of a transaction. Past it the connection is dropped too: the server may have vanished silently.
pub(super) const TRANSACTION_TIME: Duration = Duration::from_secs(10);

/// Time limit of a read.
const READ_TIME: Duration = Duration::from_secs(10);

/// Fails with a time-out if `call` takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(timed_out(what)))
}

/// Fails with a time-out if a read takes longer than [`READ_TIME`].
pub(super) async fn in_time<T>(read: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    within(READ_TIME, "read", read).await.map_err(store_error)
}

fn timed_out(what: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in time ({what})")))
}
