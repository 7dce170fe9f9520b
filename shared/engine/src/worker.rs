//! The worker: receives messages and gives them to the engine, many at a time.
//!
//! (On AWS Lambda the event source mapping is the worker.)

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::queue::{Delivery, Queue};
use bk_plugin_core::store_error::StoreError;
use futures::future::{join_all, select};
use tokio::sync::Semaphore;

use crate::engine::{CallContext, Engine, Handled, TRIES};
use crate::suspects::{Plan, Probation, Situation, SuspectPolicy, plan};

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
    probation: Arc<Mutex<Probation>>,
    /// Until when others come before a step that is to be run alone: for as long as they were held up for the last one.
    others_first_until: Mutex<Timestamp>,
}

const LONGEST_WAIT: Duration = Duration::from_secs(20);
const RECEIVE_AGAIN: BackOff = BackOff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
const DELETE_ATTEMPTS: u32 = 5;

/// Suspects run beside fresh deliveries: a busy server is never without them, and a crash of the server takes down
/// whatever runs at the time in any case.
const SUSPECTS: SuspectPolicy = SuspectPolicy {
    // One crash is not enough: it would also make suspects of all steps that ran beside the culprit, and they would
    // wait for one another.
    suspected_at: 2,
    singled_out_at: 4,
    singled_out_when_idle_at: 3,
    beside_fresh: true,
    put_backs: TRIES,
    back_off: BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(5) },
    stagger: Duration::from_millis(500),
};

impl Worker {
    /// A worker on `queue`.
    pub fn new(engine: Arc<Engine>, queue: Arc<dyn Queue>, options: WorkerOptions) -> Self {
        let others_first_until = Mutex::new(Timestamp::from_millis(0));
        Self { engine, queue, options, probation: Arc::default(), others_first_until }
    }

    /// Works until `shutdown`, then waits for the running steps to end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let room = Arc::new(Semaphore::new(self.options.concurrency));
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
                    if let Some(alone) = self.start_all(deliveries, &room).await {
                        tokio::select! {
                            () = self.drain(&room) => self.run_alone(alone).await,
                            () = &mut shutdown => {
                                self.put_back(&alone, Duration::ZERO).await;
                                break;
                            }
                        }
                    }
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
        self.every_step(&room).await;
    }

    /// Returns when every step has ended.
    async fn every_step(&self, room: &Semaphore) {
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

    /// Starts the deliveries that may run now, and puts the others back. Returns the one that is to run alone.
    async fn start_all(&self, deliveries: Vec<Delivery>, room: &Arc<Semaphore>) -> Option<Delivery> {
        let now = self.engine.clock().now();
        let situation = Situation {
            is_idle: room.available_permits() == self.options.concurrency && self.engine.is_idle(),
            may_hold_up: now >= *locked(&self.others_first_until),
            room: locked(&self.probation).room(now),
        };
        let Plan { fresh, suspects, alone, single_out, put_back } = plan(deliveries, &SUSPECTS, situation);
        join_all(put_back.iter().map(|(delivery, delay)| self.put_back(delivery, *delay))).await;
        join_all(single_out.iter().map(|delivery| self.single_out(delivery))).await;
        for delivery in fresh {
            self.start(delivery, room, None).await;
        }
        for suspect in suspects {
            let on_probation = OnProbation::begin(&self.probation, self.engine.clock());
            self.start(suspect, room, Some(on_probation)).await;
        }
        alone
    }

    async fn start(&self, delivery: Delivery, room: &Arc<Semaphore>, on_probation: Option<OnProbation>) {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else { return };
        let (engine, queue) = (Arc::clone(&self.engine), Arc::clone(&self.queue));
        tokio::spawn(async move {
            let call = engine.for_call(CallContext::default());
            if call.handle(&delivery.message, delivery.receive_count).await == Handled::Delete {
                delete(&*queue, &delivery).await;
            }
            drop((permit, on_probation));
        });
    }

    /// Returns when every step has ended, or should have: the engine knows what is still under way. Nothing is received
    /// meanwhile. A message that waited here would be taken for one whose process died.
    async fn drain(&self, room: &Semaphore) {
        let ended = pin!(self.every_step(room));
        select(ended, self.engine.clock().sleep(self.engine.longest_step())).await;
    }

    /// Runs a step with nothing else under way.
    async fn run_alone(&self, delivery: Delivery) {
        let clock = self.engine.clock();
        let begun = clock.now();
        let context = CallContext { handle: Some(delivery.handle.clone()), ..CallContext::default() };
        let call = self.engine.for_call(context);
        if call.handle(&delivery.message, delivery.receive_count).await == Handled::Delete {
            delete(&*self.queue, &delivery).await;
        }
        let now = clock.now();
        *locked(&self.others_first_until) = now + now.since(begun);
    }

    async fn single_out(&self, delivery: &Delivery) {
        let call = self.engine.for_call(CallContext::default());
        if call.single_out(delivery).await == Handled::Delete {
            delete(&*self.queue, delivery).await;
        }
    }

    async fn put_back(&self, delivery: &Delivery, delay: Duration) {
        let call = self.engine.for_call(CallContext::default());
        if call.set_aside(&delivery.message, delivery.receive_count, delay).await == Handled::Delete {
            delete(&*self.queue, delivery).await;
        }
    }
}

/// A suspect that is under way.
struct OnProbation {
    probation: Arc<Mutex<Probation>>,
    clock: Arc<dyn Clock>,
}

impl OnProbation {
    fn begin(probation: &Arc<Mutex<Probation>>, clock: &Arc<dyn Clock>) -> Self {
        locked(probation).begin();
        Self { probation: Arc::clone(probation), clock: Arc::clone(clock) }
    }
}

impl Drop for OnProbation {
    fn drop(&mut self) {
        locked(&self.probation).end(self.clock.now());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
