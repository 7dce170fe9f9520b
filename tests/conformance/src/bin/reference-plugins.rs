//! Serves the reference's plugin, with the settings of the server.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::main(conformance::project())
}
