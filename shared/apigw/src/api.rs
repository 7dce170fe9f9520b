//! The calls of the API `bk-apigateway` about one's own gateway: its v2, `/api/v2/sync/`, and from the older API
//! the one question that v2 cannot answer: which version a stage has.

use async_trait::async_trait;
use bk_plugin_service::protocol::{PublicKeyError, PublicKeySource};
use reqwest::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{ApiError, Client};

/// The API's calls about one gateway, made through a [`Client`].
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    /// The path of the gateway.
    path: String,
}

/// The resources that the gateway is to have.
#[derive(Debug, Clone, Serialize)]
pub struct Resources {
    /// An OpenAPI document, YAML or JSON.
    pub content: String,
    /// Whether resources that `content` does not name are deleted.
    pub delete: bool,
    /// The language in which the gateway makes documentation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_language: Option<String>,
}

/// How many resources a sync added, updated and deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced {
    /// New resources.
    pub added: usize,
    /// Existing resources, which were written again.
    pub updated: usize,
    /// Resources that no longer exist.
    pub deleted: usize,
}

/// Which version a stage has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// This version.
    Version(String),
    /// No version yet.
    Nothing,
    /// Not known: the gateway does not answer the question.
    Unknown,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct LatestVersion {
    version: Option<String>,
}

#[derive(Deserialize)]
struct Stage {
    name: String,
    resource_version: Option<Version>,
}

#[derive(Deserialize)]
struct Grant {
    bk_app_code: String,
}

#[derive(Deserialize)]
struct PublicKey {
    public_key: String,
}

/// A list in an answer: some platforms answer with a page, others with all entries.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listing<T> {
    Page { results: Vec<T> },
    All(Vec<T>),
}

impl<T> Listing<T> {
    fn entries(self) -> Vec<T> {
        match self {
            Self::Page { results } | Self::All(results) => results,
        }
    }
}

impl Api {
    /// The API's calls about the gateway of `client`.
    pub fn new(client: Client) -> Self {
        let path = format!("/api/v2/sync/gateways/{}/", client.gateway());
        Self { client, path }
    }

    /// The client that makes the calls.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates the gateway, or updates it.
    pub async fn sync_gateway(&self, gateway: &Value) -> Result<(), ApiError> {
        self.client.post::<IgnoredAny>("gateway", &self.path, gateway).await.map(drop)
    }

    /// Creates a stage, or updates it.
    pub async fn sync_stage(&self, stage: &Value) -> Result<(), ApiError> {
        self.client.post::<IgnoredAny>("stage", &self.below("stages/"), stage).await.map(drop)
    }

    /// Writes the resources, for the next version.
    pub async fn sync_resources(&self, resources: &Resources) -> Result<Synced, ApiError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Lists {
            added: Vec<IgnoredAny>,
            updated: Vec<IgnoredAny>,
            deleted: Vec<IgnoredAny>,
        }
        let lists: Option<Lists> =
            self.client.post("resources", &self.below("resources/"), resources).await?;
        let lists = lists.unwrap_or_default();
        Ok(Synced { added: lists.added.len(), updated: lists.updated.len(), deleted: lists.deleted.len() })
    }

    /// Permits an app to call.
    pub async fn grant(&self, grant: &Value) -> Result<(), ApiError> {
        self.client.post::<IgnoredAny>("grant", &self.below("permissions/grant/"), grant).await.map(drop)
    }

    /// The apps that may call the whole gateway.
    pub async fn granted_apps(&self) -> Result<Vec<String>, ApiError> {
        let query = [("grant_dimension", "gateway"), ("limit", "1000")];
        let grants: Listing<Grant> =
            self.client.get("list of grants", &self.below("permissions/"), &query).await?;
        Ok(grants.entries().into_iter().map(|grant| grant.bk_app_code).collect())
    }

    /// The version that was made last, if any. Fails if the gateway does not exist.
    pub async fn latest_version(&self) -> Result<Option<String>, ApiError> {
        let path = self.below("resource_versions/latest/");
        let latest: Option<LatestVersion> = self.client.get("latest version", &path, &[]).await?;
        Ok(latest.and_then(|latest| latest.version))
    }

    /// Whether this version exists.
    pub async fn has_version(&self, version: &str) -> Result<bool, ApiError> {
        let path = self.below("resource_versions/");
        let versions: Listing<Version> =
            self.client.get("list of versions", &path, &[("version", version)]).await?;
        Ok(versions.entries().iter().any(|entry| entry.version == version))
    }

    /// Makes a version of the current resources.
    pub async fn create_version(&self, version: &str, comment: &str) -> Result<(), ApiError> {
        let body = json!({"version": version, "comment": comment});
        self.client.post::<IgnoredAny>("version", &self.below("resource_versions/"), &body).await.map(drop)
    }

    /// Releases a version to a stage.
    pub async fn release(&self, version: &str, comment: &str, stage: &str) -> Result<(), ApiError> {
        let body = json!({"version": version, "comment": comment, "stage_names": [stage]});
        let path = self.below("resource_versions/release/");
        self.client.post::<IgnoredAny>("release", &path, &body).await.map(drop)
    }

    /// Which version a stage has, if the older API answers. Some platforms may no longer have it; then the only
    /// effect is that the same version is released once more.
    pub async fn released(&self, stage: &str) -> Released {
        let path = format!("/api/v1/apis/{}/stages/with-resource-version/", self.client.gateway());
        let stages: Result<Vec<Stage>, ApiError> = self.client.get("stages", &path, &[]).await;
        match stages {
            Ok(stages) => {
                let stage = stages.into_iter().find(|known| known.name == stage);
                let version = stage.and_then(|stage| stage.resource_version);
                version.map_or(Released::Nothing, |version| Released::Version(version.version))
            }
            Err(_) => Released::Unknown,
        }
    }

    /// The public key that verifies the gateway's JWTs, in PEM.
    pub async fn public_key(&self) -> Result<String, ApiError> {
        let key: PublicKey = self.client.get("public key", &self.below("public_key/"), &[]).await?;
        Ok(key.public_key)
    }

    fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }
}

/// A server without a configured key fetches it from the gateway.
#[async_trait]
impl PublicKeySource for Api {
    async fn fetch(&self) -> Result<String, PublicKeyError> {
        self.public_key().await.map_err(|error| PublicKeyError(error.to_string()))
    }
}

/// Whether the error says that the gateway does not exist.
pub(crate) fn is_missing(error: &ApiError) -> bool {
    error.status() == Some(StatusCode::NOT_FOUND)
}
