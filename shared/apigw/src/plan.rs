//! What a sync would do, determined without writing anything.

use std::fmt;

use crate::api::{Api, Released, is_missing};
use crate::client::ApiError;
use crate::definition::Registration;

/// What a sync would do.
#[derive(Debug, Clone)]
pub struct Plan {
    gateway: String,
    endpoint: String,
    registration: Registration,
    /// What the gateway has; `None` if it does not exist.
    found: Option<Found>,
}

#[derive(Debug, Clone)]
struct Found {
    granted: Vec<String>,
    released: Released,
    has_version: bool,
}

/// Compares the registration with what the gateway's API shows: which apps may call, and which version a stage
/// has. The API does not show the rest; the plan only says how it would be set.
pub async fn plan(api: &Api, registration: Registration) -> Result<Plan, ApiError> {
    let found = match api.latest_version().await {
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(error),
        Ok(_) => Some(Found {
            granted: api.granted_apps().await?,
            released: api.released(&registration.stage_name).await,
            has_version: api.has_version(&registration.version).await?,
        }),
    };
    let client = api.client();
    Ok(Plan {
        gateway: client.gateway().to_owned(),
        endpoint: client.endpoint().to_owned(),
        registration,
        found,
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, endpoint, registration, found } = self;
        let there = if found.is_some() { "is there, would be written again" } else { "would be made" };
        writeln!(f, "nothing was written; a sync would do this:")?;
        writeln!(f, "gateway     {gateway}, by {endpoint}, {there}: {}", registration.gateway)?;
        writeln!(f, "stage       {}: {}", registration.stage_name, registration.stage)?;
        let resources = &registration.resource_names;
        writeln!(f, "resources   {}; any other would be deleted", resources.join(", "))?;
        let granted = found.as_ref().map(|found| found.granted.as_slice()).unwrap_or_default();
        let (old, new): (Vec<String>, Vec<String>) =
            registration.granted_apps().into_iter().partition(|app| granted.contains(app));
        writeln!(f, "may call    already: {}; would be granted: {}", listed(&old), listed(&new))?;
        write!(f, "version     {}, {}", registration.version, self.release())
    }
}

impl Plan {
    fn release(&self) -> String {
        let Some(found) = &self.found else { return "would be made and released".to_owned() };
        let how =
            if found.has_version { "is there, would be released" } else { "would be made and released" };
        match &found.released {
            Released::Version(version) if *version == self.registration.version => {
                "released already".to_owned()
            }
            Released::Version(version) => format!("{how} in place of {version}"),
            Released::Nothing => format!("{how}, the first of this stage"),
            Released::Unknown => format!("{how}; the gateway does not say which one the stage has"),
        }
    }
}

fn listed(apps: &[String]) -> String {
    if apps.is_empty() { "none".to_owned() } else { apps.join(", ") }
}
