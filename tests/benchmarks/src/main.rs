//! `just bench`: the server's speed on this machine, compared with its peers.
//!
//! Everything runs on this machine, the load generator too, so the figures can be compared with each other,
//! but promise nothing for other machines. It needs MariaDB's server (the package `mariadb-server`). Build
//! first: `cargo build --profile server --package server --package conformance --package benchmarks`.
#![allow(clippy::print_stdout, reason = "printing figures is what it is for")]

mod bare;
mod echo;
mod inputs;
mod lambda;
mod load;
mod polling;
mod process;

/// Any reason why a benchmark cannot finish.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return runtime.block_on(bare::serve());
    }
    if std::env::args().nth(1).as_deref() == Some("polling") {
        println!("{} cores, {}", std::thread::available_parallelism()?, process::revision());
        return runtime.block_on(polling::throughput());
    }
    if std::env::args().nth(1).as_deref() == Some("lambda") {
        println!("{} cores, {}", std::thread::available_parallelism()?, process::revision());
        return runtime.block_on(lambda::run());
    }
    if std::env::args().nth(1).as_deref() == Some("inputs") {
        println!("{} cores, {}", std::thread::available_parallelism()?, process::revision());
        return inputs::run();
    }
    runtime.block_on(async {
        println!("{} cores, {}", std::thread::available_parallelism()?, process::revision());
        echo::run().await?;
        polling::throughput().await?;
        polling::lateness().await?;
        Ok(())
    })
}
