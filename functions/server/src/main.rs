//! The container and development server of this project's plugins.

use std::process::ExitCode;

/// A step is many small allocations; `just bench` shows what this one is worth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bk_plugin_server::main(bk_plugins::project)
}
