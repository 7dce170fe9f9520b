//! The tokio runtimes of what author code spawns and waits for: one for each owner, so that a spawned task that blocks
//! stops the timers and connections of its own version only.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

use super::Owner;

/// Threads of a runtime. There are two, so that one task that blocks does not stop the others of its version.
const WORKERS: usize = 2;

/// A runtime for each owner, made when its code runs first.
pub(super) struct Runtimes {
    all: Mutex<BTreeMap<Owner, Runtime>>,
    first: Handle,
}

impl Runtimes {
    /// Makes the first one.
    pub(super) fn new(owner: Owner) -> io::Result<Self> {
        let runtime = runtime()?;
        let first = runtime.handle().clone();
        Ok(Self { all: Mutex::new(BTreeMap::from([(owner, runtime)])), first })
    }

    /// The runtime of an owner; the first one if the system has no threads for another.
    pub(super) fn of(&self, owner: Owner) -> Handle {
        match self.all().entry(owner) {
            Entry::Occupied(of_owner) => of_owner.get().handle().clone(),
            Entry::Vacant(none_yet) => match runtime() {
                Ok(runtime) => none_yet.insert(runtime).handle().clone(),
                Err(error) => {
                    tracing::error!(%owner, %error, "a version shares a runtime: no thread can be started");
                    self.first.clone()
                }
            },
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Owner, Runtime>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        for runtime in std::mem::take(&mut *self.all()).into_values() {
            // Waits for nothing: what is held may never come back.
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(WORKERS).thread_name("author-tokio").enable_all().build()
}
