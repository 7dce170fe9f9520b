//! Serves the reference's plugins, with the settings of the server. App id and secret default to those of the
//! recordings. With BK_PLUGIN_CONFORMANCE_SCOPED the plugin limits an app to scopes, as in some of the
//! recordings.

use std::process::ExitCode;

/// The same allocator as in the server's own binary, because this binary is measured too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let project = match variable("BK_PLUGIN_CONFORMANCE_SCOPED") {
        Some(_) => conformance::scoped_project,
        None => conformance::project,
    };
    bk_plugin_server::main_with(project, |name| {
        variable(name).or_else(|| {
            let recorded = match name {
                "BKPAAS_APP_ID" => conformance::APP_CODE,
                "BKPAAS_APP_SECRET" => conformance::APP_SECRET,
                _ => return None,
            };
            Some(recorded.to_owned())
        })
    })
}
