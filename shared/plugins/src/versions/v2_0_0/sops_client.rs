//! What the plugin needs of bk-sops' API behind BlueKing's gateway.

use std::fmt;

use bk_plugin_kit::http::{self, Method};
use bk_plugin_kit::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Calls bk-sops as this app. A step makes two calls at most, so both end within a step's time limit of one minute.
pub(crate) struct SopsClient {
    http: http::Client,
    url: String,
    app_code: String,
    app_secret: String,
}

/// Calls bk-sops as this app for the executor and the business of one invocation.
pub(crate) struct Sops<'a> {
    client: &'a SopsClient,
    context: &'a SopsContext,
}

/// A task that was created.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) task_id: i64,
    #[serde(default)]
    pub(crate) task_url: String,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum TaskState {
    Created,
    Running,
    Suspended,
    Failed,
    Revoked,
    Finished,
}

/// Why bk-sops could not be called, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    #[error("the environment variable {0} is not set")]
    MissingVariable(&'static str),
    #[error("bk-sops, {call}: {}", .source.kind())]
    Call { call: &'static str, source: http::Error },
    #[error("bk-sops refused {call}: {message}")]
    Refused { call: &'static str, message: String },
    #[error("bk-sops' answer to {call} was not understood: {source}")]
    Answer { call: &'static str, source: serde_json::Error },
}

/// Every answer has this shape.
#[derive(Deserialize)]
struct Envelope {
    result: bool,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    message: Option<String>,
}

impl SopsClient {
    /// A client with what `variable` tells of the environment.
    pub(crate) fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SopsError> {
        let get =
            |name| variable(name).filter(|value| !value.is_empty()).ok_or(SopsError::MissingVariable(name));
        Ok(Self {
            app_code: get("BKSOPS_API_APP_CODE")?,
            app_secret: get("BKSOPS_API_APP_SECRET")?,
            url: get("BKSOPS_API_URL")?.trim_end_matches('/').to_owned(),
            http: http::Client::new(),
        })
    }

    /// The same with another time to wait for an answer.
    #[cfg(test)]
    pub(crate) fn with_timeout(self, timeout: std::time::Duration) -> Self {
        Self { http: http::Client::builder().timeout(timeout).build(), ..self }
    }

    /// The client for an invocation with this context.
    pub(crate) fn on_behalf_of<'a>(&'a self, context: &'a SopsContext) -> Sops<'a> {
        Sops { client: self, context }
    }
}

impl Sops<'_> {
    /// Creates a task from a template; it does not run yet.
    pub(crate) async fn create_task(
        &self,
        template_id: i64,
        name: &str,
        constants: &JsonObject,
    ) -> Result<Task, SopsError> {
        let body = json!({"name": name, "constants": constants});
        self.call(Method::POST, "create_task", template_id, Some(body)).await
    }

    /// Starts a task that was created.
    pub(crate) async fn start_task(&self, task_id: i64) -> Result<(), SopsError> {
        let _: Value = self.call(Method::POST, "start_task", task_id, Some(json!({}))).await?;
        Ok(())
    }

    /// Where a task stands.
    pub(crate) async fn task_state(&self, task_id: i64) -> Result<TaskState, SopsError> {
        #[derive(Deserialize)]
        struct Status {
            state: TaskState,
        }
        let status: Status = self.call(Method::GET, "get_task_status", task_id, None).await?;
        Ok(status.state)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        call: &'static str,
        id: i64,
        body: Option<Value>,
    ) -> Result<T, SopsError> {
        let Self { client, context } = self;
        let url = format!("{}/{call}/{id}/{}/", client.url, context.bk_biz_id);
        let mut request =
            client.http.request(method, url).header("X-Bkapi-Authorization", self.authorization());
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = async { request.send().await?.error_for_status()?.json::<Envelope>().await };
        let envelope = answer.await.map_err(|source| SopsError::Call { call, source })?;
        if !envelope.result {
            return Err(SopsError::Refused { call, message: envelope.message.unwrap_or_default() });
        }
        T::deserialize(envelope.data).map_err(|source| SopsError::Answer { call, source })
    }

    /// Who calls, for the gateway.
    fn authorization(&self) -> String {
        let who = json!({
            "bk_app_code": self.client.app_code,
            "bk_app_secret": self.client.app_secret,
            "bk_username": self.context.executor,
        });
        who.to_string()
    }
}

impl SopsError {
    /// Whether the same call may well be answered a little later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.may_pass())
    }
}

impl fmt::Debug for SopsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret stays out of it.
        f.debug_struct("SopsClient")
            .field("url", &self.url)
            .field("app_code", &self.app_code)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
