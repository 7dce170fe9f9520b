//! The worker: receives messages and has the engine handle them, many at a time.
//!
//! (On AWS Lambda the event source mapping is the worker.)

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::queue::{Delivery, Message, Queue};
use bk_plugin_core::store_error::StoreError;
use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{CallContext, Engine, Handled};

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Steps run at once.
    pub concurrency: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { concurrency: 256 }
    }
}

/// Receives messages and has the engine handle them.
pub struct Worker {
    engine: Arc<Engine>,
    queue: Arc<dyn Queue>,
    options: WorkerOptions,
}

const LONGEST_WAIT: Duration = Duration::from_secs(20);
const RECEIVE_AGAIN: BackOff = BackOff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
const DELETE_ATTEMPTS: u32 = 5;

/// A step whose runners died so often is a suspect: only one runs at a time. With the first crash alone every step
/// that ran beside the one to blame would be one, and they would all wait for each other.
const SUSPECT_AFTER: u32 = 2;
/// When a suspect comes again while another runs.
const SET_ASIDE: BackOff = BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };
/// What suspects that are set aside together are kept apart by: each of them is to find nobody running.
const APART: Duration = Duration::from_millis(500);

impl Worker {
    /// A worker on `queue`.
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, options: WorkerOptions) -> Self {
        Self { engine, queue, options }
    }

    /// Works until `shutdown`, then lets the steps that run come to their end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let room = Arc::new(Semaphore::new(self.options.concurrency));
        let alone = Arc::new(Semaphore::new(1));
        let mut shutdown = pin!(shutdown);
        let mut failures = 0;
        loop {
            // What was received is started, come what may: it has been counted as received.
            let received = tokio::select! {
                received = self.receive(&room) => received,
                () = &mut shutdown => break,
            };
            match received {
                Ok(deliveries) => {
                    failures = 0;
                    self.start_all(deliveries, &room, &alone).await;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot receive messages, trying again");
                    tokio::select! {
                        () = tokio::time::sleep(RECEIVE_AGAIN.delay(failures)) => failures += 1,
                        () = &mut shutdown => break,
                    }
                }
            }
        }
        let running = self.options.concurrency - room.available_permits();
        if running > 0 {
            tracing::info!(running, "waiting for the steps that run");
        }
        let all = u32::try_from(self.options.concurrency).unwrap_or(u32::MAX);
        // Closed by nobody: this returns when every step has given its permit back.
        let _ = room.acquire_many(all).await;
    }

    /// As many messages as there is room for: one that waits here loses its visibility time.
    async fn receive(&self, room: &Semaphore) -> Result<Vec<Delivery>, StoreError> {
        let first = room.acquire().await;
        let max = 1 + room.available_permits();
        drop(first);
        self.queue.receive(max, LONGEST_WAIT).await
    }

    /// Starts what was received: of the suspects one at most, and none while another runs.
    async fn start_all(&self, deliveries: Vec<Delivery>, room: &Arc<Semaphore>, alone: &Arc<Semaphore>) {
        let (mut suspects, fresh): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(is_suspect);
        suspects.sort_by_key(|suspect| suspect.message.put_backs());
        let chosen =
            Arc::clone(alone).try_acquire_owned().ok().and_then(|alone| Some((suspects.pop()?, alone)));
        // Set aside first: were they still here when the process dies, they would count one more crash.
        let apart = (0..).map(|number| APART * number);
        join_all(suspects.iter().rev().zip(apart).map(|(suspect, apart)| self.set_aside(suspect, apart)))
            .await;
        for delivery in fresh {
            self.start(delivery, room, None).await;
        }
        if let Some((suspect, alone)) = chosen {
            self.start(suspect, room, Some(alone)).await;
        }
    }

    async fn start(&self, delivery: Delivery, room: &Arc<Semaphore>, alone: Option<OwnedSemaphorePermit>) {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return };
        let (engine, queue) = (Arc::clone(&self.engine), Arc::clone(&self.queue));
        tokio::spawn(async move {
            let handled = engine
                .for_call(CallContext::default())
                .handle(&delivery.message, delivery.receive_count)
                .await;
            if handled == Handled::Delete {
                delete(&*queue, &delivery).await;
            }
            drop((permit, alone));
        });
    }

    async fn set_aside(&self, suspect: &Delivery, apart: Duration) {
        let Delivery { message, receive_count, .. } = suspect;
        let delay = SET_ASIDE.delay(message.put_backs()) + apart;
        if self.engine.for_call(CallContext::default()).set_aside(message, *receive_count, delay).await
            == Handled::Delete
        {
            delete(&*self.queue, suspect).await;
        }
    }
}

/// Whether it may be what its last runners died of. (Posting a finish callback kills nobody.)
fn is_suspect(delivery: &Delivery) -> bool {
    let Delivery { message, receive_count, .. } = delivery;
    matches!(message, Message::WakeUp(_)) && message.crashes(*receive_count) >= SUSPECT_AFTER
}

/// Deletes a message that was handled. One that cannot be deleted comes again and finds its work done.
async fn delete(queue: &dyn Queue, delivery: &Delivery) {
    for attempt in 0..DELETE_ATTEMPTS {
        match queue.delete(&delivery.handle).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(trace_id = %delivery.message.trace_id(), %error, "message not deleted");
            }
        }
        tokio::time::sleep(RECEIVE_AGAIN.delay(attempt)).await;
    }
}
