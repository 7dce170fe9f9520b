//! Calls of the API `bk-apigateway`: how they are authenticated, when they are retried, and what the answers mean.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::settings::Connection;

/// Time limit of one call. The gateway needs seconds to make a version or a release.
const TIMEOUT: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call is tried; the pause between two attempts starts at [`FIRST_PAUSE`] and doubles.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest part of a message of the gateway that is repeated, in characters.
const LONGEST_MESSAGE: usize = 1000;

/// Calls the API `bk-apigateway` as the plugin's app.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
    gateway: String,
    app_code: String,
    app_secret: SecretString,
    first_pause: Duration,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting that is sent as a header is not a valid header value.
    #[error("BKPAAS_APP_ID, BKPAAS_APP_SECRET or the tenant's id has characters that a header cannot have")]
    Header(#[from] InvalidHeaderValue),
    /// The machine's TLS set-up is broken.
    #[error("the client for the gateway's API cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why a call failed. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no answer.
    #[error(
        "{step}: no answer from {endpoint}: {reason}; BK_APIGW_MANAGER_URL_TMPL, or else BK_API_URL_TMPL, must lead \
         to the API gateway"
    )]
    Unreachable {
        /// The name of the call.
        step: &'static str,
        /// The address of the API.
        endpoint: String,
        /// The error of the last attempt.
        reason: String,
    },
    /// The gateway refused the call.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer does not have the format of API v2.
    #[error("{step}: the gateway's answer is not what its API v2 answers: {reason}")]
    Unreadable {
        /// The name of the call.
        step: &'static str,
        /// The difference.
        reason: String,
    },
}

/// A refusal of the gateway; its text also says what to do about it.
#[derive(Debug, thiserror::Error)]
pub struct Refusal {
    /// The name of the call.
    pub step: &'static str,
    /// The status of the answer.
    pub status: StatusCode,
    /// The gateway's code for the error.
    pub code: String,
    /// The gateway's message.
    pub message: String,
    gateway: String,
    app_code: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the gateway answers {}", self.step, self.status)?;
        for words in [&self.code, &self.message].into_iter().filter(|words| !words.is_empty()) {
            write!(f, ", {words}")?;
        }
        let (app, gateway) = (&self.app_code, &self.gateway);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                write!(f, "; BKPAAS_APP_ID and BKPAAS_APP_SECRET must be those of one app, which it knows")
            }
            StatusCode::FORBIDDEN => write!(
                f,
                "; only an app that is related to a gateway may change it, and {app} is not related to {gateway}: \
                 check BKPAAS_APP_ID and BK_APIGW_NAME, or let a maintainer of {gateway} add {app} to its related apps"
            ),
            StatusCode::NOT_FOUND => {
                write!(f, "; there is no gateway {gateway}, or no bk-apigateway with API v2 at this address")
            }
            status if may_pass(status) => {
                write!(f, ", {ATTEMPTS} times; sync again later")
            }
            _ => write!(
                f,
                "; it does not accept a setting (docs/configuration.md) or what the definition says (docs/apigw.md)"
            ),
        }
    }
}

/// Whether a retry may succeed: the gateway has an outage or is busy.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl Client {
    /// A client that connects directly, not through `HTTP_PROXY`: the gateway is in the plugin's own network.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let http = bk_plugin_service::tls::client_builder(&connection.authorities)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The app's secret is sent to the configured address and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .default_headers(headers(connection)?)
            .user_agent(concat!("bk-plugin-framework-rust/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            endpoint: connection.endpoint.clone(),
            gateway: connection.gateway.clone(),
            app_code: connection.app_code.clone(),
            app_secret: connection.app_secret.clone(),
            first_pause: FIRST_PAUSE,
        })
    }

    /// The same client with another first pause between two attempts.
    #[must_use]
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// The name of the plugin's gateway.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The address of the API.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        step: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ApiError> {
        let request = self.http.request(Method::GET, format!("{}{path}", self.endpoint)).query(query);
        self.ask(step, &request).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        step: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        let request = self.http.request(Method::POST, format!("{}{path}", self.endpoint)).json(body);
        self.ask(step, &request).await
    }

    /// Makes a call, with retries. Every call may be made twice: it sets something, and adds nothing to what is
    /// there.
    async fn ask<T: DeserializeOwned>(
        &self,
        step: &'static str,
        request: &reqwest::RequestBuilder,
    ) -> Result<T, ApiError> {
        let mut pause = self.first_pause;
        for _ in 1..ATTEMPTS {
            match self.ask_once(step, request).await {
                Err(error) if error.may_pass() => {
                    tracing::warn!(%error, "the gateway's API does not answer, asking again");
                }
                answered => return answered,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.ask_once(step, request).await
    }

    async fn ask_once<T: DeserializeOwned>(
        &self,
        step: &'static str,
        request: &reqwest::RequestBuilder,
    ) -> Result<T, ApiError> {
        let unreachable = |error: reqwest::Error| ApiError::Unreachable {
            step,
            endpoint: self.endpoint.clone(),
            reason: bk_plugin_core::error_text::with_sources(&error.without_url()),
        };
        let unreadable = |reason: String| ApiError::Unreadable { step, reason };
        let request = request.try_clone().ok_or_else(|| unreadable("its request is a stream".to_owned()))?;
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body: Value =
            serde_json::from_slice(&answer.bytes().await.map_err(unreachable)?).unwrap_or_default();
        // The older API answers with status 200 even when it refuses.
        if !status.is_success() || body.get("code").is_some_and(|code| *code != json!(0)) {
            return Err(self.refusal(step, status, &body).into());
        }
        let data = body.get("data").cloned().unwrap_or_default();
        serde_json::from_value(data).map_err(|error| unreadable(error.to_string()))
    }

    fn refusal(&self, step: &'static str, status: StatusCode, body: &Value) -> Refusal {
        // API v2 puts the error below "error"; the gateway itself and the older API put it at the top.
        let error = body.get("error").unwrap_or(body);
        let words = |key: &str| match error.get(key) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(words)) => self.repeatable(words),
            Some(other) => self.repeatable(&other.to_string()),
        };
        Refusal {
            step,
            status,
            code: words("code"),
            message: words("message"),
            gateway: self.gateway.clone(),
            app_code: self.app_code.clone(),
        }
    }

    /// Text of the gateway as it may be shown: shortened, and without the secret, which an answer might repeat.
    fn repeatable(&self, words: &str) -> String {
        words.replace(self.app_secret.expose_secret(), "***").chars().take(LONGEST_MESSAGE).collect()
    }
}

impl ApiError {
    /// Whether a retry may succeed.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => may_pass(refusal.status),
            Self::Unreadable { .. } => false,
        }
    }

    /// The status of the gateway's refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Unreachable { .. } | Self::Unreadable { .. } => None,
        }
    }
}

fn headers(connection: &Connection) -> Result<HeaderMap, InvalidHeaderValue> {
    let who = json!({
        "bk_app_code": connection.app_code,
        "bk_app_secret": connection.app_secret.expose_secret(),
    });
    let mut authorization = HeaderValue::try_from(who.to_string())?;
    authorization.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (HeaderName::from_static("x-bkapi-authorization"), authorization),
        (HeaderName::from_static("x-bk-tenant-id"), HeaderValue::try_from(&connection.tenant)?),
    ]))
}
