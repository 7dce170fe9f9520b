//! The Lambda function behind the queue: wake-ups, dead letters and finish callbacks.

use std::process::ExitCode;

fn main() -> ExitCode {
    bk_plugin_lambda::function::poll_tick(bk_plugins::project)
}
