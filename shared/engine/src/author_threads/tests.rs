//! With real threads: each wait is for a fact, however long that takes.

use std::future::pending;
use std::panic::panic_any;
use std::sync::mpsc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;

use super::*;

const ONE: Owner = Owner::Version("1.0.0");
const OTHER: Owner = Owner::Version("2.0.0");

/// Tasks that block their threads until this is dropped.
struct Blocked {
    tasks: Vec<AuthorTask<()>>,
    release: Vec<mpsc::Sender<()>>,
}

impl Blocked {
    fn spawn(threads: &AuthorThreads, count: usize) -> Self {
        let mut blocked = Self { tasks: Vec::new(), release: Vec::new() };
        for _ in 0..count {
            let (release, released) = mpsc::channel::<()>();
            blocked.release.push(release);
            blocked.tasks.push(threads.spawn(ONE, Span::none(), async move {
                let _ = released.recv();
            }));
        }
        blocked
    }

    async fn release(self) {
        drop(self.release);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

async fn until(fact: impl Fn() -> bool) {
    let waits = async {
        while !fact() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waits).await.expect("it never comes");
}

async fn runs(threads: &AuthorThreads, owner: Owner) -> bool {
    threads.spawn(owner, Span::none(), async { 7 }).await.is_ok_and(|seven| seven == 7)
}

/// Notes that it was dropped, by panicking too if it is to.
struct OnDrop(mpsc::Sender<()>, bool);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
        assert!(!self.1, "in Drop");
    }
}

#[tokio::test]
async fn others_go_on_while_every_first_thread_is_held() {
    let threads = AuthorThreads::start(100).unwrap();
    let blocked = Blocked::spawn(&threads, 3 * threads.shared.crew.base());
    assert!(runs(&threads, OTHER).await);
    assert_eq!(threads.refused(), None);
    blocked.release().await;
    until(|| threads.shared.crew.len() == threads.shared.crew.base()).await;
    assert!(runs(&threads, ONE).await);
}

#[tokio::test]
async fn at_the_bound_those_that_hold_threads_get_no_more_and_others_do() {
    let threads = AuthorThreads::start(2).unwrap();
    let (wake, woken) = oneshot::channel();
    let mut waiting = threads.spawn(ONE, Span::none(), woken);
    until(|| waiting.has_started()).await;
    // More than there are threads in all: the bound and the first ones.
    let blocked = Blocked::spawn(&threads, 100);
    until(|| threads.refused().is_some()).await;
    let refused = threads.spawn(ONE, Span::none(), async { 7 }).await;
    assert!(matches!(&refused, Err(Lost::Refused(refused)) if refused.owner == ONE), "{refused:?}");
    assert!(runs(&threads, OTHER).await);
    // One that was started waits, because it might hold a thread.
    wake.send(()).unwrap();
    assert!(runs(&threads, OTHER).await);
    assert!((&mut waiting).now_or_never().is_none());
    blocked.release().await;
    waiting.await.unwrap().unwrap();
    until(|| threads.refused().is_none()).await;
    assert!(runs(&threads, ONE).await);
}

#[tokio::test]
async fn a_future_is_dropped_on_its_thread_when_that_comes_back() {
    let threads = AuthorThreads::start(2).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (dropped, is_dropped) = mpsc::channel();
    let task = threads.spawn(ONE, Span::none(), async move {
        let _on_drop = OnDrop(dropped, false);
        let _ = released.recv();
        pending::<()>().await;
    });
    until(|| task.has_started()).await;
    drop(task);
    assert!(is_dropped.try_recv().is_err(), "it is still being polled");
    drop(release);
    is_dropped.recv_timeout(Duration::from_mins(1)).unwrap();
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_future_ends_nothing_else() {
    let threads = AuthorThreads::start(2).unwrap();
    let (dropped, is_dropped) = mpsc::channel();
    let task = threads.spawn(ONE, Span::none(), async move {
        let _on_drop = OnDrop(dropped, true);
        pending::<()>().await;
    });
    until(|| task.has_started()).await;
    drop(task);
    is_dropped.recv_timeout(Duration::from_mins(1)).unwrap();
    for _ in 0..10 * threads.shared.crew.base() {
        assert!(runs(&threads, ONE).await);
    }
}

#[tokio::test]
async fn a_panic_is_the_result_of_its_task_even_if_its_payload_panics_too() {
    let threads = AuthorThreads::start(2).unwrap();
    let panicked = threads.spawn(ONE, Span::none(), async { panic!("boom") }).await;
    assert!(matches!(&panicked, Err(Lost::Panicked(text)) if text == "boom"), "{panicked:?}");
    let (dropped, _is_dropped) = mpsc::channel();
    let panicked = threads.spawn(ONE, Span::none(), async { panic_any(OnDrop(dropped, true)) }).await;
    assert!(matches!(panicked, Err(Lost::Panicked(_))));
    let (dropped, _is_dropped) = mpsc::channel();
    let panicked = AuthorTask::in_place(ONE, Span::none(), async { drop(OnDrop(dropped, true)) }).await;
    assert!(matches!(&panicked, Err(Lost::Panicked(text)) if text == "in Drop"), "{panicked:?}");
}

#[tokio::test]
async fn a_runtime_that_code_has_left_entered_harms_only_that_code() {
    let threads = AuthorThreads::start(2).unwrap();
    for _ in 0..10 * threads.shared.crew.base() {
        let code = async { std::mem::forget(tokio::runtime::Handle::current().enter()) };
        let _ = threads.spawn(ONE, Span::none(), code).await;
        assert!(runs(&threads, OTHER).await);
    }
}

#[tokio::test]
async fn author_code_has_a_runtime_of_its_own() {
    let threads = AuthorThreads::start(2).unwrap();
    let name = || std::thread::current().name().map(ToOwned::to_owned);
    let code = async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        (name(), tokio::spawn(async move { name() }).await.unwrap())
    };
    let (own, spawned) = threads.spawn(ONE, Span::none(), code).await.unwrap();
    assert_eq!((own.as_deref(), spawned.as_deref()), (Some("author"), Some("author-tokio")));
    let made = threads.within(async move { tokio::spawn(async move { name() }).await }).await;
    assert_eq!(made.unwrap().as_deref(), Some("author-tokio"));
}

#[tokio::test]
async fn spawned_tasks_that_block_stop_the_timers_of_their_own_version_only() {
    let threads = AuthorThreads::start(2).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let blocking = threads.spawn(ONE, Span::none(), async move {
        for _ in 0..100 {
            let released = Arc::clone(&released);
            tokio::spawn(async move {
                let _ = released.lock().unwrap().recv();
            });
        }
    });
    blocking.await.unwrap();
    let nap = || tokio::time::sleep(Duration::from_millis(1));
    threads.spawn(OTHER, Span::none(), async move { nap().await }).await.unwrap();
    threads.spawn(Owner::Routes, Span::none(), async move { nap().await }).await.unwrap();
    drop(release);
}

#[tokio::test]
async fn the_threads_end_with_what_started_them() {
    let threads = AuthorThreads::start(2).unwrap();
    let shared = Arc::downgrade(&threads.shared);
    drop(threads.spawn(ONE, Span::none(), pending::<()>()));
    drop(threads);
    until(|| shared.strong_count() == 0).await;
}
