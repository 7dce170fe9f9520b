//! Who calls.

use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;
use serde::{Deserialize, Serialize};

/// The header of the tenant that a call is made for. BlueKing's gateway sees to it that it fits the calling app.
pub const TENANT: HeaderName = HeaderName::from_static("x-bk-tenant-id");

/// Who called a plugin or one of the author's routes, as far as it is known: behind BlueKing's gateway what the
/// gateway vouches for, elsewhere little or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// The code of the calling app. Only the gateway tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_code: Option<String>,
    /// The user: whom the gateway has verified, or whom the app names that calls `plugin_api_dispatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The tenant the call is made for, where there are several: to be named as `X-Bk-Tenant-Id` in calls of
    /// BlueKing's APIs that are made for this caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

impl Caller {
    /// Whether nothing is known of the caller.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// Who calls; an extractor for the handlers of the author's routes.
///
/// ```
/// # use bk_plugin_core::caller::Caller;
/// async fn tasks(caller: Caller) -> String {
///     format!("tasks of {}", caller.username.unwrap_or_default())
/// }
/// ```
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
