//! Who may call what is not for everybody: those for whom BlueKing's API gateway vouches with a JWT in the
//! header `X-Bkapi-JWT`, or those with the operator's API key.

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
    /// Anyone, in development. A JWT that is sent must at least be one, which shows a broken gateway set-up
    /// early (the reference answers 500 then).
    Development,
    /// Those for whom BlueKing's gateway vouches; nobody, as long as its public key is not known.
    Gateway(Option<Arc<GatewayJwt>>),
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

/// Whom a route is for. What is asked of an app and of a user is what the reference's gateway resources ask.
pub(super) trait Audience: Send {
    /// Who calls, if whoever calls may use it.
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
            Claims::unverified(jwt, description.clock.now())?;
        }
        Ok(Caller::default())
    }
}

/// Whoever comes through the gateway, or is let in without one.
async fn authenticate(description: &Description, headers: &HeaderMap) -> Result<Caller, Refused> {
    let (tenant_id, now) = (tenant(headers)?, description.clock.now());
    match (&description.settings.admission, headers.get(JWT)) {
        (Admission::ApiKey(key), _) if !has_key(headers, key) => Err(Refused::ApiKey),
        (Admission::Development, Some(jwt)) => Claims::unverified(jwt, now)?.caller(tenant_id),
        (Admission::Development | Admission::Anyone | Admission::ApiKey(_), _) => {
            Ok(Caller { tenant_id, ..Caller::default() })
        }
        (Admission::Gateway(_), None) => Err(Refused::NotThroughGateway),
        (Admission::Gateway(None), Some(_)) => Err(Refused::NoPublicKey),
        (Admission::Gateway(Some(gateway)), Some(jwt)) => gateway.verify(jwt, now).await?.caller(tenant_id),
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

/// The author's `plugin_api` routes: the gateway has verified the user. Forms call them from the browser, where
/// no app vouches for anything.
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

/// `invoke` and `plugin_api_dispatch`: apps that the project limits to scopes (`allow_scope`) must call from one.
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

/// `callback`: through the gateway, if that is asked for; else the token in the path is credential enough.
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

/// Extracted by a handler, or laid over routes by `axum::middleware::from_extractor_with_state`: the caller
/// is of the audience. After it [`Caller`] can be extracted.
pub(super) struct Admitted<A>(PhantomData<A>);

impl<A: Audience, S: Describes> FromRequestParts<S> for Admitted<A> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let caller = A::admit(state.description(), &parts.headers).await?;
        parts.extensions.insert(caller);
        Ok(Self(PhantomData))
    }
}

/// The tenant that a call names. It becomes part of the record, so it has an end.
fn tenant(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(sent) = headers.get(TENANT).filter(|sent| !sent.is_empty()) else { return Ok(None) };
    match sent.to_str() {
        Ok(id) if id.len() <= LONGEST_TENANT => Ok(Some(id.to_owned())),
        _ => Err(Refused::Tenant("X-Bk-Tenant-Id is no tenant's id")),
    }
}

const LONGEST_TENANT: usize = 128;

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
