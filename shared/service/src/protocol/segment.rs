//! The one variable segment in the paths of the framework's routes.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::envelope::Failure;

/// The text of the segment; a segment that is not valid text is refused in the envelope.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Failure::bad_request("the path is not UTF-8")),
        }
    }
}
