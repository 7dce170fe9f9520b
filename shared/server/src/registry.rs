//! Calls the author's function that makes the project, and checks the project.

use bk_plugin_kit::runtime::{MakeProject, Registry};
use bk_plugin_service::tls;

use crate::start_error::StartError;

/// The checked project. To be called after settings, log and runtime are set up, which the author's code may use.
pub(crate) async fn registry<Kind>(project: impl MakeProject<Kind>) -> Result<Registry, StartError> {
    tls::install();
    Ok(project.make().await.map_err(StartError::Author)?.build()?)
}
