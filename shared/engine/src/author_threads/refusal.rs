//! Owners that get no more threads, because too many threads are held and they hold some.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::Owner;

/// An owner that gets no more threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this process runs no more code of {owner}, which holds {threads} of its threads without awaiting")]
pub struct Refused {
    /// The owner.
    pub owner: Owner,
    /// How many threads its code holds.
    pub threads: usize,
}

/// Which owners get no more threads. Nothing is refused while fewer threads are held than the bound.
#[derive(Default)]
pub(super) struct Refusal {
    /// Whether the bound is reached: what each poll looks at.
    full: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    holders: BTreeMap<Owner, usize>,
    /// Tasks that had been started and are not polled for now.
    waiting: Vec<Waker>,
}

impl Refusal {
    /// Notes who holds threads, and whether there are too many. Returns whether that has changed.
    pub(super) fn set(&self, holders: BTreeMap<Owner, usize>, full: bool) -> bool {
        let (changed, waiting) = {
            let mut state = self.state();
            let released = !full || state.holders.keys().any(|owner| !holders.contains_key(owner));
            state.holders = holders;
            let waiting = if released { std::mem::take(&mut state.waiting) } else { Vec::new() };
            (self.full.swap(full, Ordering::Relaxed) != full, waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
        changed
    }

    /// Why the owner gets no more threads, if so.
    pub(super) fn of(&self, owner: Owner) -> Option<Refused> {
        if !self.full.load(Ordering::Relaxed) {
            return None;
        }
        let threads = self.state().holders.get(&owner).copied()?;
        Some(Refused { owner, threads })
    }

    /// Every owner that gets no more threads; `None` if the bound is not reached.
    pub(super) fn all(&self) -> Option<Vec<Refused>> {
        let refused = |(owner, threads): (&Owner, &usize)| Refused { owner: *owner, threads: *threads };
        self.full.load(Ordering::Relaxed).then(|| self.state().holders.iter().map(refused).collect())
    }

    /// Whether a task that was started must wait; it is woken when that may have changed.
    pub(super) fn makes_wait(&self, owner: Owner, waker: &Waker) -> bool {
        if !self.full.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.state();
        // Read again under the lock, under which it is written.
        let waits = self.full.load(Ordering::Relaxed) && state.holders.contains_key(&owner);
        if waits && !state.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        waits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
