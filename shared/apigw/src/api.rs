//! What the API `bk-apigateway` offers for a gateway of one's own: its v2, `/api/v2/sync/`, and of the older one the
//! only question that v2 has no answer to, which version a stage has.

use async_trait::async_trait;
use bk_plugin_service::protocol::{PublicKeyError, PublicKeySource};
use reqwest::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::{ApiError, Client};

/// The gateway that a [`Client`] asks about.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    /// The path of the gateway.
    path: String,
}

/// The resources as they are to be.
#[derive(Debug, Clone, Serialize)]
pub struct Resources {
    /// An OpenAPI document, YAML or JSON.
    pub content: String,
    /// Whether resources that it does not name are deleted.
    pub delete: bool,
    /// The gateway makes documentation in this language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_language: Option<String>,
}

/// How many resources became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced {
    /// Not there before.
    pub added: usize,
    /// There before, and written again.
    pub updated: usize,
    /// No longer there.
    pub deleted: usize,
}

/// Which version a stage has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// This one.
    Version(String),
    /// None yet.
    Nothing,
    /// The gateway does not say.
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

/// Platforms answer with a page or with all.
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
    /// The gateway that `client` asks about.
    pub fn new(client: Client) -> Self {
        let path = format!("/api/v2/sync/gateways/{}/", client.gateway());
        Self { client, path }
    }

    /// Whom it asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes the gateway, or writes what is known of it.
    pub async fn sync_gateway(&self, gateway: &Value) -> Result<(), ApiError> {
        self.client.post::<IgnoredAny>("gateway", &self.path, gateway).await.map(drop)
    }

    /// Makes a stage, or writes what is known of it.
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

    /// Lets an app call.
    pub async fn grant(&self, grant: &Value) -> Result<(), ApiError> {
        self.client.post::<IgnoredAny>("grant", &self.below("permissions/grant/"), grant).await.map(drop)
    }

    /// The apps that were granted the whole gateway.
    pub async fn granted_apps(&self) -> Result<Vec<String>, ApiError> {
        let query = [("grant_dimension", "gateway"), ("limit", "1000")];
        let grants: Listing<Grant> =
            self.client.get("list of grants", &self.below("permissions/"), &query).await?;
        Ok(grants.entries().into_iter().map(|grant| grant.bk_app_code).collect())
    }

    /// The version that was made last, if any; whether there is a gateway at all is another matter.
    pub async fn latest_version(&self) -> Result<Option<String>, ApiError> {
        let path = self.below("resource_versions/latest/");
        let latest: Option<LatestVersion> = self.client.get("latest version", &path, &[]).await?;
        Ok(latest.and_then(|latest| latest.version))
    }

    /// Whether there is this version.
    pub async fn has_version(&self, version: &str) -> Result<bool, ApiError> {
        let path = self.below("resource_versions/");
        let versions: Listing<Version> =
            self.client.get("list of versions", &path, &[("version", version)]).await?;
        Ok(versions.entries().iter().any(|entry| entry.version == version))
    }

    /// Makes a version of the resources as they are.
    pub async fn create_version(&self, version: &str, comment: &str) -> Result<(), ApiError> {
        let body = json!({"version": version, "comment": comment});
        self.client.post::<IgnoredAny>("version", &self.below("resource_versions/"), &body).await.map(drop)
    }

    /// Gives a stage a version.
    pub async fn release(&self, version: &str, comment: &str, stage: &str) -> Result<(), ApiError> {
        let body = json!({"version": version, "comment": comment, "stage_names": [stage]});
        let path = self.below("resource_versions/release/");
        self.client.post::<IgnoredAny>("release", &path, &body).await.map(drop)
    }

    /// Which version a stage has, if the older API says so: a platform may have given it up, and nothing depends on
    /// the answer but whether the same is released once more.
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

    /// The key that the gateway's JWTs are verified with, in PEM.
    pub async fn public_key(&self) -> Result<String, ApiError> {
        let key: PublicKey = self.client.get("public key", &self.below("public_key/"), &[]).await?;
        Ok(key.public_key)
    }

    fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }
}

/// A server that was not given the key asks the gateway for it.
#[async_trait]
impl PublicKeySource for Api {
    async fn fetch(&self) -> Result<String, PublicKeyError> {
        self.public_key().await.map_err(|error| PublicKeyError(error.to_string()))
    }
}

/// Whether the gateway is not there.
pub(crate) fn is_missing(error: &ApiError) -> bool {
    error.status() == Some(StatusCode::NOT_FOUND)
}
