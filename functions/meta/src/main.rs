//! The Lambda function that tells what the plugin is.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::meta(bk_plugins::project)
}
