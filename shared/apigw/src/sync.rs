//! Registers the plugin.

use std::fmt;

use crate::api::{Api, Released, Synced};
use crate::client::ApiError;
use crate::definition::Registration;
use crate::public_key::{self, Fingerprint, NoKey};

/// Why the plugin is not registered, or only in part. Another sync completes it.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A call of the gateway's API failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The gateway's answer is not a public key.
    #[error(transparent)]
    Key(#[from] NoKey),
}

/// What a sync did.
#[derive(Debug, Clone)]
pub struct Outcome {
    gateway: String,
    endpoint: String,
    stage: String,
    resources: Synced,
    granted: Vec<String>,
    version: String,
    /// What happened to the version.
    pub release: Release,
    public_key: Fingerprint,
}

/// What happened to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The version was made, and released to the stage.
    Made,
    /// The version existed already, and was released to the stage.
    Repeated,
    /// The stage had the version already.
    Unchanged,
}

/// Registers gateway, stage, resources and grants, and releases a version if the stage does not have it.
pub async fn sync(api: &Api, registration: &Registration) -> Result<Outcome, SyncError> {
    api.sync_gateway(&registration.gateway).await?;
    api.sync_stage(&registration.stage).await?;
    let resources = api.sync_resources(&registration.resources).await?;
    for grant in &registration.grants {
        api.grant(grant).await?;
    }
    let release = release(api, registration).await?;
    let public_key = public_key::fingerprint(&api.public_key().await?)?;
    Ok(Outcome {
        gateway: api.client().gateway().to_owned(),
        endpoint: api.client().endpoint().to_owned(),
        stage: registration.stage_name.clone(),
        resources,
        granted: registration.granted_apps(),
        version: registration.version.clone(),
        release,
        public_key,
    })
}

/// Releases the version. The same number means the same content, so an existing version is not made again. If the
/// gateway does not say which version the stage has, it is released once more, which changes nothing.
async fn release(api: &Api, registration: &Registration) -> Result<Release, ApiError> {
    let Registration { version, comment, stage_name, .. } = registration;
    if api.released(stage_name).await == Released::Version(version.clone()) {
        return Ok(Release::Unchanged);
    }
    let release = if api.has_version(version).await? { Release::Repeated } else { Release::Made };
    if release == Release::Made {
        create(api, version, comment).await?;
    }
    api.release(version, comment, stage_name).await?;
    Ok(release)
}

/// Makes the version. An attempt whose answer was lost may have made it; the next attempt is then refused because
/// the version exists, which is a success.
async fn create(api: &Api, version: &str, comment: &str) -> Result<(), ApiError> {
    match api.create_version(version, comment).await {
        Err(ApiError::Refused(refusal)) if refusal.status.is_client_error() => {
            if api.has_version(version).await? { Ok(()) } else { Err(refusal.into()) }
        }
        created => created,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, endpoint, stage, resources, version, .. } = self;
        writeln!(f, "gateway     {gateway}, by {endpoint}")?;
        writeln!(f, "stage       {stage}")?;
        let Synced { added, updated, deleted } = resources;
        writeln!(f, "resources   {added} added, {updated} written again, {deleted} deleted")?;
        writeln!(f, "may call    {}", self.granted.join(", "))?;
        let release = match self.release {
            Release::Made => "made and released",
            Release::Repeated => "was there, released",
            Release::Unchanged => "released already",
        };
        writeln!(f, "version     {version}, {release}")?;
        write!(f, "public key  {}", self.public_key)
    }
}
