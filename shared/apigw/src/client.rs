//! Calls of the API `bk-apigateway`: who asks, what is asked again, and what its answers mean.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::settings::Connection;

/// Making a version or a release takes the gateway seconds.
const TIMEOUT: Duration = Duration::from_mins(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often something is asked, with a pause between that starts at [`FIRST_PAUSE`] and doubles.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// As much of the gateway's words as is repeated.
const LONGEST_MESSAGE: usize = 1000;

/// Asks the API `bk-apigateway` in the name of the plugin's app.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
    gateway: String,
    app_code: String,
    app_secret: SecretString,
    first_pause: Duration,
}

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting that becomes a header cannot be one.
    #[error("BKPAAS_APP_ID, BKPAAS_APP_SECRET or the tenant's id has characters that a header cannot have")]
    Header(#[from] InvalidHeaderValue),
    /// The machine's TLS set-up is broken.
    #[error("the client for the gateway's API cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// What was asked was not done. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error(
        "{step}: no answer from {endpoint}: {reason}; BK_APIGW_MANAGER_URL_TMPL, or else BK_API_URL_TMPL, must lead \
         to the API gateway"
    )]
    Unreachable {
        /// What was asked for.
        step: &'static str,
        /// Where.
        endpoint: String,
        /// What went wrong last.
        reason: String,
    },
    /// The gateway said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The gateway said what we do not understand.
    #[error("{step}: the gateway's answer is not what its API v2 answers: {reason}")]
    Unreadable {
        /// What was asked for.
        step: &'static str,
        /// What is unexpected.
        reason: String,
    },
}

/// The gateway's words, and what they mean for us.
#[derive(Debug, thiserror::Error)]
pub struct Refusal {
    /// What was asked for.
    pub step: &'static str,
    /// The status of the answer.
    pub status: StatusCode,
    /// The gateway's code for the error.
    pub code: String,
    /// The gateway's words.
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
            status if is_weather(status) => {
                write!(f, ", {ATTEMPTS} times; sync again later")
            }
            _ => write!(
                f,
                "; it does not accept a setting (docs/configuration.md) or what the definition says (docs/apigw.md)"
            ),
        }
    }
}

/// Whether the same question may be answered well in a moment.
fn is_weather(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl Client {
    /// A client that asks directly, not through `HTTP_PROXY`: the gateway stands where the plugin does.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let http = bk_plugin_service::tls::client_builder(&connection.authorities)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The app's secret goes where the settings say and nowhere else.
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

    /// The same, with another first pause between two attempts.
    #[must_use]
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// The gateway it asks about.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The API it asks.
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

    /// Everything that is asked may be asked twice: it is set, not added to.
    async fn ask<T: DeserializeOwned>(
        &self,
        step: &'static str,
        request: &reqwest::RequestBuilder,
    ) -> Result<T, ApiError> {
        let mut pause = self.first_pause;
        for _ in 1..ATTEMPTS {
            match self.ask_once(step, request).await {
                Err(error) if error.is_weather() => {
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
        // The older API says no with status 200, too.
        if !status.is_success() || body.get("code").is_some_and(|code| *code != json!(0)) {
            return Err(self.refusal(step, status, &body).into());
        }
        let data = body.get("data").cloned().unwrap_or_default();
        serde_json::from_value(data).map_err(|error| unreadable(error.to_string()))
    }

    fn refusal(&self, step: &'static str, status: StatusCode, body: &Value) -> Refusal {
        // In API v2 below "error"; from the gateway itself, and in the older API, at the top.
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

    /// Words of others: short, and without the secret, should they repeat what they were sent.
    fn repeatable(&self, words: &str) -> String {
        words.replace(self.app_secret.expose_secret(), "***").chars().take(LONGEST_MESSAGE).collect()
    }
}

impl ApiError {
    /// Whether it may be gone in a moment.
    fn is_weather(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => is_weather(refusal.status),
            Self::Unreadable { .. } => false,
        }
    }

    /// The status that the gateway refused with.
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
