//! The worker: receives messages and has the engine handle them, many at a time.
//!
//! (On AWS Lambda the event source mapping is the worker.)

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::engine::{Engine, Handled};
use crate::queue::{Delivery, Queue};
use crate::table::BackOff;

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Steps run at once.
    pub concurrency: usize,
    /// A message received more often than this is a dead letter.
    pub max_receive_count: u32,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { concurrency: 256, max_receive_count: 5 }
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

impl Worker {
    /// A worker on `queue`.
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, options: WorkerOptions) -> Self {
        Self { engine, queue, options }
    }

    /// Works until `shutdown`, then lets the steps that run come to their end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let room = Arc::new(Semaphore::new(self.options.concurrency));
        tokio::select! {
            () = self.receive_forever(&room) => {}
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

    async fn receive_forever(&self, room: &Arc<Semaphore>) {
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
                        self.start(delivery, room).await;
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

    async fn start(&self, delivery: Delivery, room: &Arc<Semaphore>) {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return };
        let (engine, queue) = (Arc::clone(&self.engine), Arc::clone(&self.queue));
        let max_receive_count = self.options.max_receive_count;
        tokio::spawn(async move {
            let message = delivery.to_handle();
            let handled = if delivery.deaths() >= max_receive_count {
                engine.dead_letter(&message).await
            } else {
                engine.handle(&message).await
            };
            if handled == Handled::Delete {
                delete(&*queue, &delivery).await;
            }
            drop(permit);
        });
    }
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
