//! One thread, and what its current poll is.

use std::cell::OnceCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use tokio::sync::Notify;

use super::task::About;
use super::{HELD_AFTER, Owner, Shared, TOLD_AFTER};

/// A thread of author code.
#[derive(Default)]
pub(super) struct AuthorThread {
    current: Mutex<Option<CurrentPoll>>,
    end: Notify,
}

/// A poll that is going on.
struct CurrentPoll {
    since: Instant,
    about: Arc<About>,
    /// Whether the thread was counted as held by this poll before.
    held: bool,
}

/// A thread whose current poll is too long.
pub(super) struct Held {
    pub(super) owner: Owner,
    /// Whether it is seen for the first time.
    pub(super) is_new: bool,
    /// What is to be told in the log, once for each task.
    pub(super) tell: Option<(Arc<About>, Duration)>,
}

thread_local! {
    static THIS: OnceCell<Arc<AuthorThread>> = const { OnceCell::new() };
}

impl AuthorThread {
    /// Works on this thread until it is told to end.
    pub(super) fn work(self: &Arc<Self>, shared: &Shared) {
        THIS.with(|this| drop(this.set(Arc::clone(self))));
        // Not tokio's: its budget of a poll would be shared by all tasks that one poll of the executor runs.
        block_on(shared.executor.run(self.end.notified()));
    }

    /// Tells the thread to end after its current poll.
    pub(super) fn end(&self) {
        self.end.notify_one();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.current().is_none()
    }

    /// Whether it is held at `now`.
    pub(super) fn held(&self, now: Instant) -> Option<Held> {
        let mut current = self.current();
        let poll = current.as_mut()?;
        let lasts = now.saturating_duration_since(poll.since);
        if lasts < HELD_AFTER {
            return None;
        }
        let is_new = !std::mem::replace(&mut poll.held, true);
        let tell = lasts >= TOLD_AFTER && !poll.about.told_held.swap(true, Ordering::Relaxed);
        let tell = tell.then(|| (Arc::clone(&poll.about), lasts));
        Some(Held { owner: poll.about.owner, is_new, tell })
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<CurrentPoll>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one poll, which must not panic. If this is a thread of author code, its poll can be seen from outside meanwhile.
pub(super) fn poll<R>(about: &Arc<About>, run: impl FnOnce() -> R) -> R {
    let since = Instant::now();
    THIS.with(|this| {
        if let Some(thread) = this.get() {
            let poll = CurrentPoll { since, about: Arc::clone(about), held: false };
            *thread.current() = Some(poll);
        }
    });
    let result = run();
    THIS.with(|this| {
        if let Some(thread) = this.get() {
            *thread.current() = None;
        }
    });
    let took = since.elapsed();
    if took >= TOLD_AFTER && !about.told_back.swap(true, Ordering::Relaxed) {
        let seconds = took.as_secs_f64();
        about.span.in_scope(|| tracing::warn!(seconds, "author code kept its thread without awaiting"));
    }
    result
}
