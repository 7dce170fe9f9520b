//! The worker: receives messages and has the engine handle them, many at a time.
//!
//! (On AWS Lambda the event source mapping is the worker.)

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::engine::{Engine, Handled};
use crate::queue::{Delivery, Message, Queue};
use crate::table::BackOff;

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
const SET_ASIDE: BackOff = BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

impl Worker {
    /// A worker on `queue`.
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, options: WorkerOptions) -> Self {
        Self { engine, queue, options }
    }

    /// Works until `shutdown`, then lets the steps that run come to their end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let room = Arc::new(Semaphore::new(self.options.concurrency));
        let suspects = Arc::new(Semaphore::new(1));
        tokio::select! {
            () = self.receive_forever(&room, &suspects) => {}
            () = shutdown => {}
        }
        let running = self.options.concurrency - room.available_permits();
        if running > 0 {
            tracing::info!(running, "waiting for the steps that run");
        }
        let all = u32::try_from(self.options.concurrency).unwrap_or(u32::MAX);
        // Closed by nobody: this returns when every step has given its permit back.
        let _ = room.acquire_many(all).await;
    }

    async fn receive_forever(&self, room: &Arc<Semaphore>, suspects: &Arc<Semaphore>) {
        let mut failures = 0;
        loop {
            // Wait for room before receiving: a message that waits here loses its visibility time.
            let Ok(first) = room.acquire().await else { return };
            let max = 1 + room.available_permits();
            drop(first);
            match self.queue.receive(max, LONGEST_WAIT).await {
                Ok(deliveries) => {
                    failures = 0;
                    for delivery in deliveries {
                        self.start(delivery, room, suspects).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot receive messages, trying again");
                    tokio::time::sleep(RECEIVE_AGAIN.delay(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    async fn start(&self, delivery: Delivery, room: &Arc<Semaphore>, suspects: &Arc<Semaphore>) {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return };
        let (engine, queue, suspects) =
            (Arc::clone(&self.engine), Arc::clone(&self.queue), Arc::clone(suspects));
        tokio::spawn(async move {
            let Delivery { message, receive_count, .. } = &delivery;
            let handled = if is_suspect(message, *receive_count) {
                match suspects.try_acquire() {
                    Ok(_alone) => engine.handle(message, *receive_count).await,
                    // Another one runs: this one must not die of it, too.
                    Err(_) => {
                        let delay = SET_ASIDE.delay(message.put_backs());
                        engine.set_aside(message, *receive_count, delay).await
                    }
                }
            } else {
                engine.handle(message, *receive_count).await
            };
            if handled == Handled::Delete {
                delete(&*queue, &delivery).await;
            }
            drop(permit);
        });
    }
}

/// Whether it may be what its last runners died of. (Posting a finish callback kills nobody.)
fn is_suspect(message: &Message, receive_count: u32) -> bool {
    matches!(message, Message::WakeUp(_)) && message.crashes(receive_count) >= SUSPECT_AFTER
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
