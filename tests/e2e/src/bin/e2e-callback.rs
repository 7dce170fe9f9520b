//! The function `callback` of the end-to-end tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::callback(e2e::project)
}
