//! The threads that the authors' code runs on, apart from HTTP, stores and timers.
//!
//! Code that does not await keeps its thread, and cannot be stopped. Here it keeps a thread that can be replaced:
//! an executor shared by some threads, of which one more is started for each that is *held*, that is, for each whose
//! current poll has lasted longer than a quarter of a second. Tasks of others go on, on the other threads. The number of held
//! threads is bounded; at the bound the owners of the code that holds them get no more threads ([`Refused`]).
//!
//! While an owner's code runs, a tokio runtime of that owner's is entered, for what the code spawns and waits for.

mod crew;
mod refusal;
mod runtimes;
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
use tracing::Span;

pub use refusal::Refused;
pub use task::{AuthorTask, Lost};

use crew::Crew;
use refusal::Refusal;
use runtimes::Runtimes;
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
    /// The handlers of the author's own routes, and the function that makes the project.
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
    runtimes: Runtimes,
}

/// What the threads share.
struct Shared {
    executor: Executor<'static>,
    crew: Crew,
    refusal: Arc<Refusal>,
}

impl AuthorThreads {
    /// Starts the threads: as many as there are cores, at least two. Up to `bound` more are started in the place of held
    /// ones.
    pub fn start(bound: usize) -> io::Result<Arc<Self>> {
        let base = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        let runtimes = Runtimes::new(Owner::Routes)?;
        let shared = Arc::new(Shared {
            executor: Executor::new(),
            crew: Crew::new(base, bound),
            refusal: Arc::default(),
        });
        let threads = Self { shared: Arc::clone(&shared), runtimes };
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
        let (runtime, refusal) = (self.runtimes.of(owner), Arc::clone(&self.shared.refusal));
        let watched = Watched::on_threads(owner, span, future, runtime, refusal);
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

    /// Runs author code that makes what later tasks use, such as clients: on the caller's thread, but with a runtime of
    /// the author's entered, so that the tasks it spawns run there.
    pub async fn within<T>(&self, future: impl Future<Output = T>) -> T {
        let (mut future, runtime) = (pin!(future), self.runtimes.of(Owner::Routes));
        poll_fn(|cx| {
            let _within = runtime.enter();
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl Drop for AuthorThreads {
    fn drop(&mut self) {
        self.shared.crew.end_all();
    }
}

#[cfg(test)]
mod tests;
