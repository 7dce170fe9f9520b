//! The Lambda function for callbacks of third parties, and for `schedule`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::callback(bk_plugins::project)
}
