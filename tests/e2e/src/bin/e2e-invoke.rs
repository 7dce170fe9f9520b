//! The function `invoke` of the end-to-end tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::invoke(e2e::project)
}
