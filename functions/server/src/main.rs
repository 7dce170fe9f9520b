//! The container and development server of this project's plugins.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::main(bk_plugins::project())
}
