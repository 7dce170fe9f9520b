//! The server with plugins that keep a journal.

use std::process::ExitCode;

/// The same allocator as in the server's own binary, because this binary is measured too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bk_plugin_server::main(crash::project)
}
