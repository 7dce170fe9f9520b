//! Serves the hostile versions, or with `table` measures what they do to others.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "rows and progress are what it is for")]

mod table;

use std::process::ExitCode;

/// The same allocator as in the server's own binary, because this binary is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("table") {
        return bk_plugin_server::main(hostile::project);
    }
    let (write, wanted): (Vec<_>, Vec<_>) = arguments.partition(|argument| argument == "--write");
    match table::print(&wanted, !write.is_empty()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the table cannot be made: {error}");
            ExitCode::FAILURE
        }
    }
}
