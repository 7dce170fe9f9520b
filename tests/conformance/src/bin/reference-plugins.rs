//! Serves the reference's plugins, with the settings of the server; app id and secret are those of the
//! recordings unless they are set.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::main_with(conformance::project(), |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty()).or_else(|| {
            let recorded = match name {
                "BKPAAS_APP_ID" => conformance::APP_CODE,
                "BKPAAS_APP_SECRET" => conformance::APP_SECRET,
                _ => return None,
            };
            Some(recorded.to_owned())
        })
    })
}
