//! Has the author's function make the project, and checks it.

use bk_plugin_kit::runtime::{MakeProject, Registry};
use bk_plugin_service::tls;

use crate::start_error::StartError;

/// The checked project. To be called where the author's code may find settings, log and runtime.
pub(crate) async fn registry<Kind>(project: impl MakeProject<Kind>) -> Result<Registry, StartError> {
    tls::install();
    Ok(project.make().await.map_err(StartError::Author)?.build()?)
}
