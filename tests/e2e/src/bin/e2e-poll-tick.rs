//! The function `poll-tick` of the end-to-end tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::poll_tick(e2e::project)
}
