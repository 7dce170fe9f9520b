//! The server with plugins that keep a journal.

use std::process::ExitCode;

/// As the server's own binary has it: this one is measured, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bk_plugin_server::main(crash::project)
}
