//! What is under way in this process, and how one step runs with nothing else under way.
//!
//! Everything that runs author code holds one permit of a semaphore. A step that runs alone holds all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bk_plugin_core::clock::Clock;
use futures::future::{Either, select};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// More than can be under way in one process.
const ALL: u32 = 1 << 24;

/// The gate that all author code of a process goes through.
#[derive(Clone)]
pub(super) struct Gate(Arc<Inner>);

struct Inner {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    came: Notify,
}

/// Author code that is under way. Hold it until that code has really ended.
#[must_use]
pub struct Entered {
    _permit: OwnedSemaphorePermit,
}

/// Holds all other author code of the process up, until it is dropped.
#[must_use]
pub(super) struct OthersHeldUp {
    _permits: OwnedSemaphorePermit,
}

impl Default for Gate {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(ALL as usize));
        Self(Arc::new(Inner { permits, waiting: AtomicUsize::new(0), came: Notify::new() }))
    }
}

impl Gate {
    /// Begins author code, which must wait while a step runs alone.
    pub(super) async fn enter(&self) -> Entered {
        if let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() {
            return Entered { _permit: permit };
        }
        let _waiting = Waiting::begin(&self.0);
        loop {
            // The semaphore is never closed.
            if let Ok(permit) = Arc::clone(&self.0.permits).acquire_owned().await {
                return Entered { _permit: permit };
            }
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.0.permits.available_permits() == ALL as usize
    }

    /// Begins a step that runs alone, if nothing is under way.
    pub(super) fn try_alone(&self) -> Option<(Entered, OthersHeldUp)> {
        Arc::clone(&self.0.permits).try_acquire_many_owned(ALL).ok().and_then(split)
    }

    /// Begins a step that runs alone, as soon as all that is under way has ended. Holds other author code up meanwhile.
    /// Gives up after `patience`.
    pub(super) async fn alone(
        &self,
        clock: &dyn Clock,
        patience: Duration,
    ) -> Option<(Entered, OthersHeldUp)> {
        let all = Box::pin(Arc::clone(&self.0.permits).acquire_many_owned(ALL));
        match select(all, clock.sleep(patience)).await {
            Either::Left((permits, _)) => permits.ok().and_then(split),
            Either::Right(_) => None,
        }
    }

    /// Returns when author code waits to begin.
    pub(super) async fn is_wanted(&self) {
        loop {
            let came = self.0.came.notified();
            if self.0.waiting.load(Ordering::SeqCst) > 0 {
                return;
            }
            came.await;
        }
    }
}

/// One permit for the step itself, which it keeps when the others are let in.
fn split(mut permits: OwnedSemaphorePermit) -> Option<(Entered, OthersHeldUp)> {
    let permit = permits.split(1)?;
    Some((Entered { _permit: permit }, OthersHeldUp { _permits: permits }))
}

/// Counts one that waits, until it is dropped: its caller may hang up.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Inner) -> Self {
        gate.waiting.fetch_add(1, Ordering::SeqCst);
        gate.came.notify_waiters();
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use bk_plugin_core::clock::SystemClock;
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_step_runs_alone_only_when_nothing_is_under_way() {
        let gate = Gate::default();
        let step = gate.enter().await;
        let beside = gate.enter().await;
        assert!(gate.try_alone().is_none());
        drop(step);
        let mut alone = pin!(gate.alone(&SystemClock, Duration::from_secs(60)));
        assert!(alone.as_mut().now_or_never().is_none());
        assert!(gate.enter().now_or_never().is_none(), "what comes later waits");
        drop(beside);
        assert!(alone.await.is_some());
        assert!(gate.enter().now_or_never().is_some());
    }

    #[tokio::test]
    async fn waiting_for_a_thread_that_is_held_ends() {
        let gate = Gate::default();
        let _held = gate.enter().await;
        assert!(gate.alone(&SystemClock, Duration::from_millis(5)).await.is_none());
        assert!(gate.enter().now_or_never().is_some(), "the gate is open again");
    }

    #[tokio::test]
    async fn a_step_that_runs_alone_is_told_when_others_wait() {
        let gate = Gate::default();
        let (step, others_held_up) = gate.try_alone().unwrap();
        {
            let mut wanted = pin!(gate.is_wanted());
            assert!(wanted.as_mut().now_or_never().is_none());
            assert!(gate.enter().now_or_never().is_none());
            assert!(wanted.as_mut().now_or_never().is_none(), "that caller has hung up");
            let mut other = pin!(gate.enter());
            assert!(other.as_mut().now_or_never().is_none());
            assert!(wanted.now_or_never().is_some());
        }
        drop(others_held_up);
        assert!(gate.enter().now_or_never().is_some());
        assert!(gate.try_alone().is_none(), "the step is still under way");
        drop(step);
        assert!(gate.try_alone().is_some());
    }
}
