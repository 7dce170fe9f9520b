//! Serves the reference's plugin, with the settings of the server.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _project = conformance::project();
    // Here the server takes over: `server::main(conformance::project())`.
    ExitCode::FAILURE
}
