//! Registers the plugin.

use std::fmt;

use crate::api::{Api, Released, Synced};
use crate::client::ApiError;
use crate::definition::Registration;
use crate::public_key::{self, Fingerprint, NoKey};

/// The plugin is not registered, or not entirely. Syncing again goes on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The gateway did not do it.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The gateway has no key.
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
    /// What became of the version.
    pub release: Release,
    public_key: Fingerprint,
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It was made, and the stage was given it.
    Made,
    /// It was there already, and the stage was given it.
    Repeated,
    /// The stage has it already.
    Unchanged,
}

/// Registers gateway, stage, resources and grants, and releases a version if the stage has not got it.
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

/// The same number is the same content, so a version that is there needs no other. If the gateway does not say what
/// the stage has, it is given the version again, which changes nothing.
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

/// An attempt whose answer got lost may have made it: then the next one is refused, for it is there.
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
