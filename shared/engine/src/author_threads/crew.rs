//! All threads, and the monitor that replaces those that are held.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use super::thread::AuthorThread;
use super::{Owner, Shared};
use crate::metrics;

/// Time between two looks at the threads.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long there are more threads than needed before the extra ones end.
const SURPLUS_KEPT: Duration = Duration::from_secs(1);

/// All threads.
pub(super) struct Crew {
    base: usize,
    bound: usize,
    /// `None` when they have been told to end.
    threads: Mutex<Option<Vec<Arc<AuthorThread>>>>,
}

impl Crew {
    pub(super) fn new(base: usize, bound: usize) -> Self {
        Self { base, bound, threads: Mutex::new(Some(Vec::new())) }
    }

    /// Tells all threads to end. No more are started.
    pub(super) fn end_all(&self) {
        let threads = self.threads().take();
        threads.into_iter().flatten().for_each(|thread| thread.end());
    }

    fn remove(&self, thread: &Arc<AuthorThread>) {
        if let Some(threads) = &mut *self.threads() {
            threads.retain(|other| !Arc::ptr_eq(other, thread));
        }
    }

    fn threads(&self) -> MutexGuard<'_, Option<Vec<Arc<AuthorThread>>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many threads to start for `held` held ones of `all`, of which `newly_held` were not held at the last look.
    fn to_start(&self, all: usize, held: usize, newly_held: usize) -> usize {
        // A burst of code that blocks holds every thread it gets. Doubling the free ones each time lets other tasks
        // through soon.
        let wanted = self.base.max(2 * newly_held);
        let most = self.base + self.bound;
        wanted.saturating_sub(all - held).min(most.saturating_sub(all))
    }
}

/// Starts the first threads, and the monitor.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    for _ in 0..shared.crew.base {
        start_thread(shared)?;
    }
    let monitored = Arc::clone(shared);
    Builder::new().name("author-monitor".to_owned()).spawn(move || monitor(&monitored))?;
    Ok(())
}

fn start_thread(shared: &Arc<Shared>) -> io::Result<()> {
    let (thread, of_thread) = (Arc::new(AuthorThread::default()), Arc::clone(shared));
    let this = Arc::clone(&thread);
    let main = move || {
        this.work(&of_thread);
        of_thread.crew.remove(&this);
    };
    match &mut *shared.crew.threads() {
        Some(threads) => threads.push(Arc::clone(&thread)),
        None => return Ok(()),
    }
    let started = Builder::new().name("author".to_owned()).spawn(main);
    if started.is_err() {
        shared.crew.remove(&thread);
    }
    started.map(drop)
}

/// Looks at the threads until they are told to end. It has a thread of its own, which nothing can hold.
fn monitor(shared: &Arc<Shared>) {
    let mut monitor = Monitor::default();
    loop {
        thread::sleep(LOOK_EVERY);
        let Some(threads) = shared.crew.threads().clone() else { return };
        monitor.look(shared, &threads, Instant::now());
    }
}

#[derive(Default)]
struct Monitor {
    held: usize,
    surplus_since: Option<Instant>,
}

impl Monitor {
    fn look(&mut self, shared: &Arc<Shared>, threads: &[Arc<AuthorThread>], now: Instant) {
        let held: Vec<_> = threads.iter().filter_map(|thread| thread.held(now)).collect();
        let newly_held = held.iter().filter(|held| held.is_new).count();
        let mut holders: BTreeMap<Owner, usize> = BTreeMap::new();
        for held in &held {
            *holders.entry(held.owner).or_default() += 1;
        }
        let full = held.len() >= shared.crew.bound;
        let changed = shared.refusal.set(holders, full);
        for _ in 0..shared.crew.to_start(threads.len(), held.len(), newly_held) {
            if let Err(error) = start_thread(shared) {
                tracing::error!(%error, "a held thread is not replaced: no thread can be started");
                break;
            }
        }
        self.end_surplus(&shared.crew, threads, held.len(), now);
        if held.len() != self.held {
            self.held = held.len();
            metrics::held_threads(held.len());
        }
        for (about, lasts) in held.into_iter().filter_map(|held| held.tell) {
            let seconds = lasts.as_secs_f64();
            about.span.in_scope(|| tracing::warn!(seconds, "author code holds its thread without awaiting"));
        }
        if changed {
            tell_of_bound(shared);
        }
    }

    /// Ends threads that are more than needed, after a while.
    fn end_surplus(&mut self, crew: &Crew, threads: &[Arc<AuthorThread>], held: usize, now: Instant) {
        let surplus = (threads.len() - held).saturating_sub(crew.base);
        if surplus == 0 {
            self.surplus_since = None;
        } else if now.saturating_duration_since(*self.surplus_since.get_or_insert(now)) >= SURPLUS_KEPT {
            threads.iter().filter(|thread| thread.is_idle()).take(surplus).for_each(|thread| thread.end());
            self.surplus_since = None;
        }
    }
}

fn tell_of_bound(shared: &Shared) {
    if let Some(refused) = shared.refusal.all() {
        let holders: Vec<_> = refused.iter().map(|of| format!("{} ({})", of.owner, of.threads)).collect();
        let holders = holders.join(", ");
        tracing::error!(holders, "too many threads are held: this process runs no more code of these");
    } else {
        tracing::warn!("held threads have come back: this process runs all code again");
    }
}

#[cfg(test)]
impl Crew {
    pub(super) fn base(&self) -> usize {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.threads().as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_threads_are_replaced_up_to_the_bound() {
        let crew = Crew::new(2, 10);
        assert_eq!(crew.to_start(2, 0, 0), 0);
        assert_eq!(crew.to_start(2, 1, 1), 1, "one is free");
        assert_eq!(crew.to_start(3, 1, 0), 0, "it is replaced already");
        assert_eq!(crew.to_start(2, 2, 2), 4, "a burst: twice as many");
        assert_eq!(crew.to_start(6, 6, 4), 6, "no more than the bound");
        assert_eq!(crew.to_start(12, 12, 6), 0);
    }
}
