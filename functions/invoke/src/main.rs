//! The Lambda function for first steps, `plugin_api_dispatch` and the author's own routes.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::invoke(bk_plugins::project)
}
