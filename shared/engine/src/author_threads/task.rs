//! A task of author code. Nothing of the author's gets out of it: neither a panic, nor a value with a `Drop`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_executor::{Executor, FallibleTask};
use bk_plugin_kit::runtime::panic_text;
use tokio::runtime::Handle;
use tracing::{Instrument as _, Span};

use super::refusal::{Refusal, Refused};
use super::{Owner, thread};

/// Why a task has no result.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It was not started.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It panicked, or what it used panicked when it was dropped.
    #[error("panicked: {0}")]
    Panicked(String),
    /// Its threads have ended.
    #[error("the process ends")]
    Ended,
}

/// A task of author code. It is cancelled when this is dropped: its future is dropped after its current poll, on the
/// thread that polls it.
pub struct AuthorTask<T> {
    run: Run<T>,
    about: Arc<About>,
}

enum Run<T> {
    InPlace(Watched<T>),
    Spawned(FallibleTask<Result<T, Lost>>),
}

/// What is known of a task.
pub(super) struct About {
    pub(super) owner: Owner,
    pub(super) span: Span,
    /// What its code spawns and waits for; in place, the host's own.
    pub(super) runtime: Option<Handle>,
    started: AtomicBool,
    /// Whether the log has said that a poll lasts long.
    pub(super) told_held: AtomicBool,
    /// Whether the log has said how long such a poll has lasted.
    pub(super) told_back: AtomicBool,
}

impl<T: Send + 'static> AuthorTask<T> {
    /// A task that runs where it is awaited.
    pub(crate) fn in_place(
        owner: Owner,
        span: Span,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let watched = Watched::new(owner, span, future, None, None);
        Self { about: Arc::clone(&watched.about), run: Run::InPlace(watched) }
    }

    pub(super) fn spawned(watched: Watched<T>, executor: &Executor<'static>) -> Self {
        let about = Arc::clone(&watched.about);
        Self { run: Run::Spawned(executor.spawn(watched).fallible()), about }
    }

    /// Whether any of its code was run.
    pub fn has_started(&self) -> bool {
        self.about.started.load(Ordering::Relaxed)
    }
}

impl<T> Future for AuthorTask<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.run {
            Run::InPlace(watched) => Pin::new(watched).poll(cx),
            Run::Spawned(task) => Pin::new(task).poll(cx).map(|ended| ended.unwrap_or(Err(Lost::Ended))),
        }
    }
}

/// An author's future. Neither its poll nor its end can panic: a panic in the drop of a task would abort the process.
pub(super) struct Watched<T> {
    /// `None` when it is over.
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    about: Arc<About>,
    /// `None` in place.
    refusal: Option<Arc<Refusal>>,
}

impl<T> Watched<T> {
    fn new(
        owner: Owner,
        span: Span,
        future: impl Future<Output = T> + Send + 'static,
        runtime: Option<Handle>,
        refusal: Option<Arc<Refusal>>,
    ) -> Self {
        let about = Arc::new(About {
            owner,
            span: span.clone(),
            runtime,
            started: AtomicBool::new(false),
            told_held: AtomicBool::new(false),
            told_back: AtomicBool::new(false),
        });
        Self { future: Some(Box::pin(future.instrument(span))), about, refusal }
    }

    pub(super) fn on_threads(
        owner: Owner,
        span: Span,
        future: impl Future<Output = T> + Send + 'static,
        runtime: Handle,
        refusal: Arc<Refusal>,
    ) -> Self {
        Self::new(owner, span, future, Some(runtime), Some(refusal))
    }

    fn has_started(&self) -> bool {
        self.about.started.load(Ordering::Relaxed)
    }

    /// What the future says, and `None` while it is not over.
    fn poll_future(&mut self, cx: &mut Context<'_>) -> Option<Result<T, Lost>> {
        let future = self.future.as_mut()?;
        let ended = match self.about.contain(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(result)) => Ok(result),
            Err(panic) => {
                let text = panic_text(&*panic).to_owned();
                self.about.drop_contained(panic);
                Err(Lost::Panicked(text))
            }
        };
        let ended_future = self.future.take();
        self.about.drop_contained(ended_future);
        Some(ended)
    }
}

impl<T> Future for Watched<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(refusal) = &self.refusal {
            if !self.has_started()
                && let Some(refused) = refusal.of(self.about.owner)
            {
                return Poll::Ready(Err(refused.into()));
            }
            if refusal.makes_wait(self.about.owner, cx.waker()) {
                return Poll::Pending;
            }
        }
        self.about.started.store(true, Ordering::Relaxed);
        let about = Arc::clone(&self.about);
        match thread::poll(&about, || self.poll_future(cx)) {
            Some(ended) => Poll::Ready(ended),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            // It may block as a poll may.
            thread::poll(&self.about, || self.about.drop_contained(future));
        }
    }
}

impl About {
    /// Runs author code, with its runtime entered. (Leaving that may panic too, if the code has left another one
    /// entered.)
    fn contain<R>(&self, run: impl FnOnce() -> R) -> std::thread::Result<R> {
        catch_unwind(AssertUnwindSafe(|| {
            let _within = self.runtime.as_ref().map(Handle::enter);
            run()
        }))
    }

    /// Drops an author's value. Its panic is in the log, which the panic hook has written.
    fn drop_contained<V>(&self, value: V) {
        if let Err(panic) = self.contain(|| drop(value))
            && let Err(of_payload) = self.contain(|| drop(panic))
        {
            std::mem::forget(of_payload);
        }
    }
}
