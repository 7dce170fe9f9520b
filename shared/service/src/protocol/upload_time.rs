//! The time that a body takes to arrive. It is the caller's time, so it does not count as the request's: a slow upload
//! leaves a step as much time as a fast one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use futures::StreamExt as _;
use futures::stream::poll_fn;
use tokio::time::Instant;

/// How long a handler has waited for the body of its request.
#[derive(Debug, Clone, Default)]
pub(super) struct UploadTime(Arc<Mutex<Waited>>);

#[derive(Debug, Default)]
struct Waited {
    before: Duration,
    since: Option<Instant>,
}

impl UploadTime {
    /// The same body, whose waits are measured.
    pub(super) fn measure(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let (time, mut data) = (self.clone(), body.into_data_stream());
        Body::from_stream(poll_fn(move |cx| {
            let polled = data.poll_next_unpin(cx);
            time.note(polled.is_pending());
            polled
        }))
    }

    fn note(&self, waits: bool) {
        let mut waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waits && let Some(since) = waited.since.take() {
            waited.before += since.elapsed();
        } else if waits && waited.since.is_none() {
            waited.since = Some(Instant::now());
        }
    }

    /// The time so far, a wait that goes on included.
    fn so_far(&self) -> Duration {
        let waited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waited.before + waited.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Awaits `answer` for as long as `limit`, and once more as long for the body; `None`: it took longer.
    pub(super) async fn within<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let (begun, mut answer) = (Instant::now(), std::pin::pin!(answer));
        loop {
            let until = begun + limit + self.so_far().min(limit);
            match tokio::time::timeout_at(until, &mut answer).await {
                Ok(answer) => return Some(answer),
                // Part of the time may have been a wait for the body.
                Err(_) if begun + limit + self.so_far().min(limit) <= Instant::now() => return None,
                Err(_) => {}
            }
        }
    }
}
