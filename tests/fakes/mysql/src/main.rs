//! A MariaDB server for a script: prints its URL, and ends the server when this process is told to stop.
#![allow(clippy::print_stdout, reason = "the URL is what it is started for")]

use local_mysql::MariaDb;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut told_to_stop = signal(SignalKind::terminate())?;
    let database = MariaDb::start().await;
    println!("{}", database.url());
    tokio::select! {
        _ = told_to_stop.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
