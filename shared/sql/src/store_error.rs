//! Errors of a database as errors of the store.

use std::sync::Arc;

use bk_plugin_core::store_error::StoreError;

/// The database's error as one of the store's.
pub(crate) fn store_error(error: impl Into<Arc<sqlx::Error>>) -> StoreError {
    let error = error.into();
    match *error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            StoreError::Unreadable { what: "row".to_owned(), source: Box::new(error) }
        }
        _ => StoreError::Unavailable(Box::new(error)),
    }
}

/// The error of every call after the store was closed.
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("the database is closed".into())
}
