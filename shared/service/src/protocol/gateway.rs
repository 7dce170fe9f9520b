//! Who may call the routes that are not open to everyone: callers for whom BlueKing's API gateway vouches with a
//! JWT in the header `X-Bkapi-JWT`, or callers with the operator's API key.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bk_plugin_core::caller::{Caller, TENANT};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::gateway_claims::Claims;
use super::gateway_jwt::GatewayJwt;
use super::refused::Refused;
use super::{Description, Service};

/// The header of the gateway's JWT.
pub(super) const JWT: HeaderName = HeaderName::from_static("x-bkapi-jwt");

/// The header of the operator's API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The headers that say which scope a call comes from.
const SCOPE_TYPE: HeaderName = HeaderName::from_static("bkplugin-scope-type");
const SCOPE_VALUE: HeaderName = HeaderName::from_static("bkplugin-scope-value");

/// Who may call `invoke`, `plugin_api_dispatch` and the author's routes.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Any caller, in development. A JWT that is sent must still be valid, which shows a broken gateway set-up
    /// early (the reference answers 500 then).
    Development,
    /// Callers for whom BlueKing's gateway vouches; without its public key every caller is refused.
    Gateway(Option<Arc<GatewayJwt>>),
    /// Callers with this key in the header `X-Api-Key`.
    ApiKey(SecretString),
    /// Any caller: something in front of the plugin has checked them, or no check is wanted.
    Anyone,
}

impl Admission {
    /// Whether this is development.
    pub fn is_development(&self) -> bool {
        matches!(self, Self::Development)
    }
}

/// Whom a route is for. The checks of app and user are those of the reference's gateway resources.
pub(super) trait Audience: Send {
    /// The caller, or why the caller may not use the route.
    fn admit(
        description: &Description,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Caller, Refused>> + Send;
}

/// `meta`, `detail`, `schedule` and the documents: callers come directly to the app, without a JWT.
pub(super) struct AnyCaller;

impl Audience for AnyCaller {
    async fn admit(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
        if let (Admission::Development, Some(jwt)) = (&description.settings.admission, headers.get(JWT)) {
            Claims::unverified(jwt, description.clock.world_time())?;
        }
        Ok(Caller::default())
    }
}

/// Authenticates a request as the settings demand. Only a JWT names the calling app and user; without one they
/// stay unknown.
async fn authenticate(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
    let (tenant_id, clock) = (tenant(headers)?, &*description.clock);
    match (&description.settings.admission, headers.get(JWT)) {
        (Admission::ApiKey(key), _) if !has_key(headers, key) => Err(Refused::ApiKey),
        (Admission::Development, Some(jwt)) => Claims::unverified(jwt, clock.world_time())?.caller(tenant_id),
        (Admission::Development | Admission::Anyone | Admission::ApiKey(_), _) => {
            Ok(Caller { tenant_id, ..Caller::default() })
        }
        (Admission::Gateway(_), None) => Err(Refused::NotThroughGateway),
        (Admission::Gateway(None), Some(_)) => Err(Refused::NoPublicKey),
        (Admission::Gateway(Some(gateway)), Some(jwt)) => gateway.verify(jwt, clock).await?.caller(tenant_id),
    }
}

/// The author's `openapi` and `private` routes: the gateway has verified the calling app.
pub(super) struct VerifiedApp;

impl Audience for VerifiedApp {
    async fn admit(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
        let caller = authenticate(description, headers).await?;
        match description.settings.admission {
            Admission::Gateway(_) if caller.app_code.is_none() => {
                Err(Refused::NotAccepted("the gateway has not verified the app"))
            }
            _ => Ok(caller),
        }
    }
}

/// The author's `plugin_api` routes: the gateway has verified the user. Forms call them from the browser, where no
/// app vouches for the call.
pub(super) struct VerifiedUser;

impl Audience for VerifiedUser {
    async fn admit(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
        let caller = authenticate(description, headers).await?;
        match description.settings.admission {
            Admission::Gateway(_) if caller.username.is_none() => {
                Err(Refused::NotAccepted("the gateway has not verified the user"))
            }
            _ => Ok(caller),
        }
    }
}

/// `invoke` and `plugin_api_dispatch`: apps that the project limits to scopes (`allow_scope`) must call from one
/// of them.
pub(super) struct ScopedApp;

impl Audience for ScopedApp {
    async fn admit(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
        let caller = VerifiedApp::admit(description, headers).await?;
        let limits = description.registry.allow_scope();
        let Some(limit) = caller.app_code.as_ref().and_then(|code| limits.get(code)) else {
            return Ok(caller);
        };
        let scope = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if limit.allows(scope(SCOPE_TYPE), scope(SCOPE_VALUE)) { Ok(caller) } else { Err(Refused::Scope) }
    }
}

/// `callback`: through the gateway, if the settings require that; otherwise the token in the path is credential
/// enough.
pub(super) struct TokenHolder;

impl Audience for TokenHolder {
    async fn admit(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
        match description.settings.admission {
            Admission::Gateway(_) if description.settings.callbacks_through_gateway => {
                VerifiedApp::admit(description, headers).await
            }
            _ => Ok(Caller::default()),
        }
    }
}

/// Proof that the caller belongs to the audience `A`: extracted by a handler, or laid over routes by
/// `axum::middleware::from_extractor_with_state`. After it [`Caller`] can be extracted.
pub(super) struct Admitted<A>(PhantomData<A>);

impl<A: Audience, S: Describes> FromRequestParts<S> for Admitted<A> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let caller = A::admit(state.description(), &parts.headers).await?;
        parts.extensions.insert(caller);
        Ok(Self(PhantomData))
    }
}

/// The tenant that a call names. Its length is limited, because it becomes part of the record.
fn tenant(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(sent) = headers.get(TENANT).filter(|sent| !sent.is_empty()) else { return Ok(None) };
    match sent.to_str() {
        Ok(id) if id.len() <= LONGEST_TENANT => Ok(Some(id.to_owned())),
        _ => Err(Refused::Tenant("X-Bk-Tenant-Id is not a valid tenant id")),
    }
}

const LONGEST_TENANT: usize = 128;

/// The state of routes that check the caller.
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

/// Whether a caller has the operator's key. Digests are compared, so the time this takes does not reveal how much
/// of a guess is right.
fn has_key(headers: &HeaderMap, key: &SecretString) -> bool {
    let digest = |bytes: &[u8]| Sha256::digest(bytes);
    headers.get(API_KEY).is_some_and(|sent| digest(sent.as_bytes()) == digest(key.expose_secret().as_bytes()))
}
