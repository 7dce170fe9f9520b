//! The server with plugins that keep a journal.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::main(crash::project())
}
