//! The caller of a plugin.

use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;
use serde::{Deserialize, Serialize};

/// The header that names the tenant a call is made for. BlueKing's gateway checks that the calling app may use it.
pub const TENANT: HeaderName = HeaderName::from_static("x-bk-tenant-id");

/// What is known of the caller of a plugin or of one of the author's routes. Behind BlueKing's gateway the gateway
/// vouches for it; elsewhere little or nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// The code of the calling app. Known only behind the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_code: Option<String>,
    /// The user: verified by the gateway, or named by the app that calls `plugin_api_dispatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The tenant the call is made for, where BlueKing has several. Calls of BlueKing's APIs for this caller must name it
    /// as `X-Bk-Tenant-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

impl Caller {
    /// Whether nothing is known of the caller.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// An extractor for the handlers of the author's routes.
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
