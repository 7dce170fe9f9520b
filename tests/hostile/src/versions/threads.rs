//! Versions that hold the threads they run on.

use std::future::pending;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use axum::Router;
use axum::routing::get;
use bk_plugin_kit::prelude::*;

use super::{FOR_EVER, Harm, version};

/// 1.0.0-sleeps: sleeps its thread.
pub struct Sleeps;

impl Harm for Sleeps {
    const META: Meta = version("1.0.0-sleeps");

    async fn harm(&self) -> Result<Next> {
        thread::sleep(FOR_EVER);
        Ok(Next::done())
    }
}

/// 1.0.0-loops: computes without an end.
pub struct Loops;

impl Harm for Loops {
    const META: Meta = version("1.0.0-loops");

    async fn harm(&self) -> Result<Next> {
        loop {
            std::hint::spin_loop();
        }
    }
}

/// 1.0.0-reads: a synchronous client whose server accepts the connection and says nothing.
pub struct Reads;

impl Harm for Reads {
    const META: Meta = version("1.0.0-reads");

    async fn harm(&self) -> Result<Next> {
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let mut answer = String::new();
        TcpStream::connect(silent.local_addr()?)?.read_to_string(&mut answer)?;
        Ok(Next::done())
    }
}

/// 1.0.0-deadlocks: holds a lock, and waits for a thread that wants it.
pub struct Deadlocks;

impl Harm for Deadlocks {
    const META: Meta = version("1.0.0-deadlocks");

    async fn harm(&self) -> Result<Next> {
        let lock = Arc::new(Mutex::new(()));
        let mine = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = Arc::clone(&lock);
        let other = thread::spawn(move || drop(theirs.lock()));
        let _ = other.join();
        drop(mine);
        Ok(Next::done())
    }
}

/// 1.0.0-sleeps-when-dropped: never ends, and sleeps the thread that drops it.
pub struct SleepsWhenDropped;

impl Harm for SleepsWhenDropped {
    const META: Meta = version("1.0.0-sleeps-when-dropped");

    async fn harm(&self) -> Result<Next> {
        let _held = SleepsInDrop;
        pending().await
    }
}

struct SleepsInDrop;

impl Drop for SleepsInDrop {
    fn drop(&mut self) {
        thread::sleep(FOR_EVER);
    }
}

/// 1.0.0-blocks-task: sleeps the thread of a task that it spawns, and waits for the task.
pub struct BlocksTask;

impl Harm for BlocksTask {
    const META: Meta = version("1.0.0-blocks-task");

    async fn harm(&self) -> Result<Next> {
        tokio::spawn(async { thread::sleep(FOR_EVER) }).await?;
        Ok(Next::done())
    }
}

/// 1.0.0-leaves-threads: succeeds, and leaves threads and tasks behind that never end.
pub struct LeavesThreads;

impl Harm for LeavesThreads {
    const META: Meta = version("1.0.0-leaves-threads");

    async fn harm(&self) -> Result<Next> {
        for _ in 0..8 {
            thread::spawn(|| thread::sleep(FOR_EVER));
            tokio::task::spawn_blocking(|| thread::sleep(FOR_EVER));
        }
        for _ in 0..1000 {
            tokio::spawn(pending::<()>());
        }
        Ok(Next::done())
    }
}

/// `plugin_api/sleeps`: a route that sleeps its thread.
pub(super) fn routes() -> Router {
    Router::new().route("/sleeps", get(async || thread::sleep(FOR_EVER)))
}
