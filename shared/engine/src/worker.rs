//! The worker: receives messages and gives them to the engine, many at a time.
//!
//! Steps and finish callbacks have slots of their own, and a receiver each: a host that does not answer delays no step.
//! What a receiver asks for depends on its slots: no version waits for another's backlog, no host for another.
//!
//! (On AWS Lambda the event source mapping is the worker.)

mod shares;
mod slots;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Delivery, Queue};
use futures::future::{join, join_all, select};

use crate::engine::{CallContext, Engine, Handled, TRIES};
use crate::suspects::{Plan, Probation, Situation, SuspectPolicy, plan};
use shares::{HostShares, VersionShares};
use slots::{Slot, Slots};

/// Settings of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// How many steps run at the same time.
    pub concurrency: usize,
    /// How many of them each version can always have; `None`: half of the steps are shared out evenly like this.
    pub guaranteed: Option<usize>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { concurrency: 256, guaranteed: None }
    }
}

/// Receives messages and gives them to the engine.
pub struct Worker {
    engine: Arc<Engine>,
    queue: Arc<dyn Queue>,
    steps: Arc<Slots>,
    finish_callbacks: Arc<Slots>,
    probation: Arc<Mutex<Probation>>,
    /// Until when others come before a step that is to be run alone: for as long as they were held up for the last one.
    others_first_until: Mutex<Timestamp>,
}

/// Finish callbacks that are posted at the same time: they take memory, but no time of this process. A host that never
/// answers holds its part of them, and eight such hosts hold all.
const FINISH_CALLBACKS: HostShares = HostShares { total: 256, each: 32 };

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
        let versions =
            engine.registry().versions().iter().map(|version| MessageGroup::of_version(version)).collect();
        let steps = Slots::new(VersionShares::new(options.concurrency, versions, options.guaranteed));
        let finish_callbacks = Slots::new(FINISH_CALLBACKS);
        let others_first_until = Mutex::new(Timestamp::from_millis(0));
        Self { engine, queue, steps, finish_callbacks, probation: Arc::default(), others_first_until }
    }

    /// Works until `shutdown`, then waits for the running steps to end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let stop = async {
            shutdown.await;
            self.steps.close();
            self.finish_callbacks.close();
        };
        let (steps, finish_callbacks) = (self.work(&self.steps), self.work(&self.finish_callbacks));
        join(stop, join(steps, finish_callbacks)).await;
        let running = self.steps.taken() + self.finish_callbacks.taken();
        if running > 0 {
            tracing::info!(running, "waiting for the steps that run");
        }
        join(self.steps.all_free(), self.finish_callbacks.all_free()).await;
    }

    /// Receives what there is room for, and starts it, until the slots are closed. No more is received: a message that
    /// waits here loses its visibility time. All that is received is started: the queue has counted it as received.
    async fn work(&self, slots: &Arc<Slots>) {
        let mut failures = 0;
        while let Some(receive) = slots.receive().await {
            match self.queue.receive_selected(receive).await {
                Ok(deliveries) => {
                    failures = 0;
                    if let Some(alone) = self.start_all(deliveries, slots).await {
                        self.run_alone(alone, slots).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot receive messages, trying again");
                    slots.pause(RECEIVE_AGAIN.delay(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Starts the deliveries that may run now, and puts the others back. Returns the one that is to run alone.
    async fn start_all(&self, deliveries: Vec<Delivery>, slots: &Arc<Slots>) -> Option<Delivery> {
        let now = self.engine.clock().now();
        let situation = Situation {
            is_idle: slots.taken() == 0 && self.engine.is_idle(),
            may_hold_up: now >= *locked(&self.others_first_until),
            room: locked(&self.probation).room(now),
        };
        let Plan { fresh, suspects, alone, single_out, put_back } = plan(deliveries, &SUSPECTS, situation);
        join_all(put_back.iter().map(|(delivery, delay)| self.put_back(delivery, *delay))).await;
        join_all(single_out.iter().map(|delivery| self.single_out(delivery))).await;
        for delivery in fresh {
            let slot = slots.take(&delivery);
            self.start(delivery, slot, None);
        }
        for suspect in suspects {
            let slot = slots.take(&suspect);
            let on_probation = OnProbation::begin(&self.probation, self.engine.clock());
            self.start(suspect, slot, Some(on_probation));
        }
        alone
    }

    fn start(&self, delivery: Delivery, slot: Slot, on_probation: Option<OnProbation>) {
        let (engine, queue) = (Arc::clone(&self.engine), Arc::clone(&self.queue));
        tokio::spawn(async move {
            let call = engine.for_call(CallContext::default());
            if call.handle(&delivery.message, delivery.receive_count).await == Handled::Delete {
                delete(&*queue, &delivery).await;
            }
            drop((slot, on_probation));
        });
    }

    /// Runs a step with nothing else under way, once every step has ended, or should have: the engine knows what is
    /// still under way. No step is received meanwhile. A message that waited here would be taken for one whose process
    /// died.
    async fn run_alone(&self, delivery: Delivery, slots: &Slots) {
        let clock = self.engine.clock();
        let begun = clock.now();
        select(Box::pin(slots.all_free()), clock.sleep(self.engine.longest_step())).await;
        if slots.is_closed() {
            return self.put_back(&delivery, Duration::ZERO).await;
        }
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
