//! Why a caller is refused.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::envelope::Failure;

/// Why a caller is refused. The JWT itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The reference's words.
    #[error("This API can only be accessed through API gateway")]
    NotThroughGateway,
    #[error(
        "This API can only be accessed through API gateway, and no gateway public key is configured to \
         verify X-Bkapi-JWT with: set BK_APIGW_PUBLIC_KEY or BK_APIGW_PUBLIC_KEY_FILE"
    )]
    NoPublicKey,
    #[error(
        "This API can only be accessed through API gateway, and its public key could not be fetched to verify \
         X-Bkapi-JWT with: the server's log says why"
    )]
    PublicKeyNotFetched,
    #[error("X-Bkapi-JWT is not accepted: {0}")]
    NotAccepted(&'static str),
    #[error("the header X-Api-Key is missing or wrong")]
    ApiKey,
    #[error("X-Bkapi-JWT is not a JWT: {0}")]
    Unreadable(&'static str),
    #[error("X-Bkapi-JWT has expired")]
    Expired,
    #[error("{0}")]
    Tenant(&'static str),
    #[error(
        "the calling app may not call from this scope: the headers Bkplugin-Scope-Type and Bkplugin-Scope-Value \
         must name one that meta shows for it in allow_scope"
    )]
    Scope,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        Failure::new(StatusCode::FORBIDDEN, self.to_string()).into_response()
    }
}
