//! The worker: receives messages and gives them to the engine, many at a time.
//!
//! (On AWS Lambda the event source mapping is the worker.)

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::queue::{Delivery, Queue};
use bk_plugin_core::store_error::StoreError;
use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{CallContext, Engine, Handled};
use crate::suspects::{Plan, SuspectPolicy, plan};

/// Settings of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// How many steps run at the same time.
    pub concurrency: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { concurrency: 256 }
    }
}

/// Receives messages and gives them to the engine.
pub struct Worker {
    engine: Arc<Engine>,
    queue: Arc<dyn Queue>,
    options: WorkerOptions,
}

const LONGEST_WAIT: Duration = Duration::from_secs(20);
const RECEIVE_AGAIN: BackOff = BackOff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
const DELETE_ATTEMPTS: u32 = 5;

/// A suspect runs beside fresh deliveries: a busy server is never without them, and a crash of the server takes down
/// whatever runs at the time in any case.
const SUSPECTS: SuspectPolicy = SuspectPolicy {
    // One crash is not enough: it would also make suspects of all steps that ran beside the culprit, and they would
    // wait for one another.
    crashes: 2,
    put_backs_before_alone: None,
    back_off: BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(5) },
    stagger: Duration::from_millis(500),
};

impl Worker {
    /// A worker on `queue`.
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, options: WorkerOptions) -> Self {
        Self { engine, queue, options }
    }

    /// Works until `shutdown`, then waits for the running steps to end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let room = Arc::new(Semaphore::new(self.options.concurrency));
        let suspect_slot = Arc::new(Semaphore::new(1));
        let mut shutdown = pin!(shutdown);
        let mut failures = 0;
        loop {
            // Received messages are always started: the queue has counted them as received.
            let received = tokio::select! {
                received = self.receive(&room) => received,
                () = &mut shutdown => break,
            };
            match received {
                Ok(deliveries) => {
                    failures = 0;
                    self.start_all(deliveries, &room, &suspect_slot).await;
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
        // The semaphore is never closed, so this returns when every step has given its permit back.
        let _ = room.acquire_many(all).await;
    }

    /// Receives as many messages as there is room for: a message that waits here loses its visibility time.
    async fn receive(&self, room: &Semaphore) -> Result<Vec<Delivery>, StoreError> {
        let first = room.acquire().await;
        let max = 1 + room.available_permits();
        drop(first);
        self.queue.receive(max, LONGEST_WAIT).await
    }

    /// Starts the deliveries that may run now and puts the others back.
    async fn start_all(
        &self,
        deliveries: Vec<Delivery>,
        room: &Arc<Semaphore>,
        suspect_slot: &Arc<Semaphore>,
    ) {
        let slot = Arc::clone(suspect_slot).try_acquire_owned().ok();
        let Plan { fresh, suspect, put_back } = plan(deliveries, &SUSPECTS, slot.is_some());
        join_all(put_back.iter().map(|(delivery, delay)| self.put_back(delivery, *delay))).await;
        for delivery in fresh {
            self.start(delivery, room, None).await;
        }
        if let Some(suspect) = suspect {
            self.start(suspect, room, slot).await;
        }
    }

    async fn start(
        &self,
        delivery: Delivery,
        room: &Arc<Semaphore>,
        suspect_slot: Option<OwnedSemaphorePermit>,
    ) {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return };
        let (engine, queue) = (Arc::clone(&self.engine), Arc::clone(&self.queue));
        tokio::spawn(async move {
            let call = engine.for_call(CallContext::default());
            if call.handle(&delivery.message, delivery.receive_count).await == Handled::Delete {
                delete(&*queue, &delivery).await;
            }
            drop((permit, suspect_slot));
        });
    }

    async fn put_back(&self, delivery: &Delivery, delay: Duration) {
        let call = self.engine.for_call(CallContext::default());
        if call.set_aside(&delivery.message, delivery.receive_count, delay).await == Handled::Delete {
            delete(&*self.queue, delivery).await;
        }
    }
}

/// Deletes a message that was handled. A message that cannot be deleted is redelivered, and its work is found done.
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
