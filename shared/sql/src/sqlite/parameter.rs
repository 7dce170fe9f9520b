//! Many rows as one parameter.

use serde::Serialize;

/// Rows as the one parameter of a statement, which takes them apart with `json_each`.
pub(super) fn parameter<T: Serialize>(rows: &[T]) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}
