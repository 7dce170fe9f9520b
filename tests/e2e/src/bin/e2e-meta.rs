//! The function `meta` of the end-to-end tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::meta(e2e::project)
}
