//! Where the answer to a request goes.

use bk_plugin_core::store_error::StoreError;
use tokio::sync::oneshot;

/// The caller that waits for the answer to a request.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;
