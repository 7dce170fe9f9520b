//! A service of AWS that did not do what it was asked.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use bk_plugin_core::error_text::with_sources;
use bk_plugin_core::store_error::StoreError;

/// Any error of a service that is not about the request itself (throttling, a time-out, a missing permission) ends no
/// invocation: the engine asks again.
pub(crate) fn unavailable<E>(error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let text = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => with_sources(error),
    };
    StoreError::Unavailable(text.into())
}
