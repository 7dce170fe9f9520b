//! The threads that the authors' code runs on, apart from HTTP, stores and timers.
//!
//! Code that does not await keeps its thread, and no one can take it away. Here it keeps a thread that can be replaced:
//! an executor shared by some threads, of which one more is started for each that is *held*, that is, for each whose
//! current poll has lasted longer than [`HELD_AFTER`]. Tasks of others go on, on the other threads. The number of held
//! threads is bounded; at the bound the owners of the code that holds them get no more threads ([`Refusal`]).
//!
//! The threads have a tokio runtime of their own entered, for what authors' code spawns and waits for.

mod crew;
mod refusal;
mod task;
mod thread;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_executor::Executor;
use futures::future::poll_fn;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::Span;

pub use refusal::Refused;
pub use task::{AuthorTask, Lost};

use crew::Crew;
use refusal::Refusal;
use task::Watched;

/// A thread is held when one poll of a task has lasted longer than this. A task that awaits is polled for microseconds.
const HELD_AFTER: Duration = Duration::from_millis(250);

/// A poll that lasts longer than this is in the log.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Whose code a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Steps of this version.
    Version(&'static str),
    /// The handlers of the author's own routes.
    Routes,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Routes => f.write_str("the author's routes"),
        }
    }
}

/// The threads that the authors' code runs on. They end, once nothing holds them, when this is dropped.
pub struct AuthorThreads {
    shared: Arc<Shared>,
    /// What the authors' code spawns and waits for. `None` only while this is dropped.
    runtime: Option<Runtime>,
}

/// What the threads share.
struct Shared {
    executor: Executor<'static>,
    runtime: Handle,
    crew: Crew,
    refusal: Arc<Refusal>,
}

/// Threads of the tokio runtime, besides one for each core. A task that an author spawns and that blocks holds one of
/// them, and none is put in its place.
const SPARE_WORKERS: usize = 6;

impl AuthorThreads {
    /// Starts the threads: as many as there are cores, at least two. Up to `bound` more are started in the place of held
    /// ones.
    pub fn start(bound: usize) -> io::Result<Arc<Self>> {
        let base = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        let runtime = Builder::new_multi_thread()
            .worker_threads(base + SPARE_WORKERS)
            .thread_name("author-tokio")
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            executor: Executor::new(),
            runtime: runtime.handle().clone(),
            crew: Crew::new(base, bound),
            refusal: Arc::default(),
        });
        let threads = Self { shared: Arc::clone(&shared), runtime: Some(runtime) };
        crew::start(&shared)?;
        Ok(Arc::new(threads))
    }

    /// Runs the author's `future` on these threads, in `span`. It is dropped there, too, whatever becomes of the task.
    pub fn spawn<T: Send + 'static>(
        &self,
        owner: Owner,
        span: Span,
        future: impl Future<Output = T> + Send + 'static,
    ) -> AuthorTask<T> {
        let watched = Watched::on_threads(owner, span, future, Arc::clone(&self.shared.refusal));
        AuthorTask::spawned(watched, &self.shared.executor)
    }

    /// The owners that get no more threads now, and how many each holds; `None` if no owner is refused.
    pub fn refused(&self) -> Option<Vec<Refused>> {
        self.shared.refusal.all()
    }

    /// Why no more code of this owner is started now, if so.
    pub fn refuses(&self, owner: Owner) -> Option<Refused> {
        self.shared.refusal.of(owner)
    }

    /// Runs author code that makes what later tasks use, such as clients: on the caller's thread, and with the runtime
    /// of these threads entered, so that the tasks it spawns are theirs.
    pub async fn within<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _within = self.shared.runtime.enter();
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl Drop for AuthorThreads {
    fn drop(&mut self) {
        self.shared.crew.end_all();
        if let Some(runtime) = self.runtime.take() {
            // Waits for nothing: what is held may never come back.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
