//! Who may call what is not for everybody: those for whom BlueKing's API gateway vouches with a JWT in the
//! header `X-Bkapi-JWT`, or those with the operator's API key.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::envelope::Failure;
use super::gateway_jwt::GatewayJwt;
use super::{Description, Service};
use crate::JsonObject;
use crate::clock::Timestamp;

/// The header of the gateway's JWT.
pub(super) const JWT: HeaderName = HeaderName::from_static("x-bkapi-jwt");

/// The header of the operator's API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who may call `invoke`, `plugin_api_dispatch` and the author's routes.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Anyone, in development. A JWT that is sent must at least be one, which shows a broken gateway set-up
    /// early (the reference answers 500 then).
    Development,
    /// Those for whom BlueKing's gateway vouches; nobody, as long as its public key is not known.
    Gateway(Option<Box<GatewayJwt>>),
    /// Those with this key in the header `X-Api-Key`.
    ApiKey(SecretString),
    /// Anyone who gets here: something in front has asked already, or nobody is to ask.
    Anyone,
}

impl Admission {
    /// Whether this is development.
    pub fn is_development(&self) -> bool {
        matches!(self, Self::Development)
    }
}

/// Why a caller is not let in. The JWT itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The reference's words.
    #[error("This API can only be accessed through API gateway")]
    NotThroughGateway,
    #[error(
        "This API can only be accessed through API gateway, and no gateway public key is configured to \
         verify X-Bkapi-JWT with"
    )]
    NoPublicKey,
    #[error("X-Bkapi-JWT is not accepted: {0}")]
    Forged(&'static str),
    #[error("the header X-Api-Key is missing or wrong")]
    ApiKey,
    #[error("X-Bkapi-JWT is not a JWT: {0}")]
    Unreadable(&'static str),
    #[error("X-Bkapi-JWT has expired")]
    Expired,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        Failure::new(StatusCode::FORBIDDEN, self.to_string()).into_response()
    }
}

/// Whom a route is for.
pub(super) trait Audience: Send {
    /// Whether the caller may use it.
    fn admit(description: &Description, headers: &HeaderMap) -> Result<(), Refused>;
}

/// `meta`, `detail`, `schedule` and the documents: callers come directly to the app, without a JWT.
pub(super) struct AnyCaller;

impl Audience for AnyCaller {
    fn admit(description: &Description, headers: &HeaderMap) -> Result<(), Refused> {
        match (headers.get(JWT), &description.settings.admission) {
            (Some(jwt), Admission::Development) => read(jwt, description.clock.now()),
            _ => Ok(()),
        }
    }
}

/// `invoke`, `plugin_api_dispatch` and the author's own routes: callers come through the gateway.
pub(super) struct GatewayCaller;

impl Audience for GatewayCaller {
    fn admit(description: &Description, headers: &HeaderMap) -> Result<(), Refused> {
        match (&description.settings.admission, headers.get(JWT)) {
            (Admission::Development, _) => AnyCaller::admit(description, headers),
            (Admission::Anyone, _) => Ok(()),
            (Admission::ApiKey(key), _) if has_key(headers, key) => Ok(()),
            (Admission::ApiKey(_), _) => Err(Refused::ApiKey),
            (Admission::Gateway(_), None) => Err(Refused::NotThroughGateway),
            (Admission::Gateway(None), Some(_)) => Err(Refused::NoPublicKey),
            (Admission::Gateway(Some(gateway)), Some(jwt)) => gateway.verify(jwt, description.clock.now()),
        }
    }
}

/// `callback`: through the gateway, if that is asked for; else the token in the path is credential enough.
pub(super) struct TokenHolder;

impl Audience for TokenHolder {
    fn admit(description: &Description, headers: &HeaderMap) -> Result<(), Refused> {
        match description.settings.admission {
            Admission::Gateway(_) if description.settings.callbacks_through_gateway => {
                GatewayCaller::admit(description, headers)
            }
            _ => Ok(()),
        }
    }
}

/// Extracted by a handler, or laid over routes by `axum::middleware::from_extractor_with_state`: the caller
/// is of the audience.
pub(super) struct Admitted<A>(PhantomData<A>);

impl<A: Audience, S: Describes> FromRequestParts<S> for Admitted<A> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        A::admit(state.description(), &parts.headers)?;
        Ok(Self(PhantomData))
    }
}

/// The state of routes that ask who calls.
pub(super) trait Describes: Send + Sync {
    fn description(&self) -> &Description;
}

impl Describes for Arc<Description> {
    fn description(&self) -> &Description {
        self
    }
}

impl Describes for Arc<Service> {
    fn description(&self) -> &Description {
        &self.description
    }
}

/// Whether a caller has the operator's key. How long it takes to find out does not depend on how much of it is
/// right: digests are compared.
fn has_key(headers: &HeaderMap, key: &SecretString) -> bool {
    let digest = |bytes: &[u8]| Sha256::digest(bytes);
    headers.get(API_KEY).is_some_and(|sent| digest(sent.as_bytes()) == digest(key.expose_secret().as_bytes()))
}

/// Looks whether a JWT is one and has not expired.
fn read(jwt: &HeaderValue, now: Timestamp) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
        #[serde(flatten)]
        _others: IgnoredAny,
    }

    let mut parts = jwt.as_bytes().split(|byte| *byte == b'.');
    let (Some(header), Some(claims), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Unreadable("it has not three parts"));
    };
    let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok();
    decode(header)
        .and_then(|json| serde_json::from_slice::<JsonObject>(&json).ok())
        .ok_or(Refused::Unreadable("its header is not a JSON object"))?;
    let claims: Claims = decode(claims)
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or(Refused::Unreadable("its claims are not a JSON object with an expiry"))?;
    if claims.exp > now.as_secs() { Ok(()) } else { Err(Refused::Expired) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// A JWT that nobody signed.
    pub(in crate::protocol) fn jwt(claims: &str) -> HeaderValue {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        HeaderValue::try_from(format!("{}.{}.c2ln", part(r#"{"alg":"RS512"}"#), part(claims))).unwrap()
    }

    #[test]
    fn a_jwt_is_readable_and_unexpired() {
        assert_eq!(read(&jwt(r#"{"exp":1800000001,"iss":"APIGW"}"#), NOW), Ok(()));
        assert_eq!(read(&jwt(r#"{"exp":1800000000}"#), NOW), Err(Refused::Expired));
        for claims in ["{}", "[]", "x", r#"{"exp":"soon"}"#] {
            assert!(matches!(read(&jwt(claims), NOW), Err(Refused::Unreadable(_))), "{claims}");
        }
        for garbage in ["garbage", "", "a.b.c", "a.b.c.d", "..", "e30.e30"] {
            let garbage = HeaderValue::from_static(garbage);
            assert!(matches!(read(&garbage, NOW), Err(Refused::Unreadable(_))), "{garbage:?}");
        }
    }
}
