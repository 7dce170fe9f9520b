//! The slots of a worker: how much runs at the same time, and for whom.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Delivery, Receive};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::LONGEST_WAIT;
use super::shares::{Room, Shares, UnderWay};

/// Slots that are shared among groups of messages.
pub(super) struct Slots {
    shares: Box<dyn Shares>,
    state: Mutex<State>,
    /// A receiver that leaves messages out, or that waits for room, has to ask again what there is room for.
    changed: Notify,
    /// Something has ended.
    ended: Notify,
    closed: Notify,
}

#[derive(Default)]
struct State {
    under_way: UnderWay,
    /// Whether the latest receiver leaves messages out.
    leaves_some_out: bool,
    is_closed: bool,
}

/// A slot that is taken, until it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    group: Option<MessageGroup>,
}

impl Slots {
    pub(super) fn new(shares: impl Shares + 'static) -> Arc<Self> {
        let (shares, state) = (Box::new(shares), Mutex::default());
        Arc::new(Self { shares, state, changed: Notify::new(), ended: Notify::new(), closed: Notify::new() })
    }

    /// Waits until there is room, and returns what can be received; `None` once the slots are closed. The receiver is told
    /// when there is room for messages that it leaves out. There must be one receiver at a time.
    pub(super) async fn receive(&self) -> Option<Receive<'_>> {
        loop {
            match self.room() {
                Err(Closed) => return None,
                Ok(None) => self.changed.notified().await,
                Ok(Some(Room { selection, max })) => {
                    let (wait, ended_by) = (LONGEST_WAIT, Some(&self.changed));
                    return Some(Receive { max, wait, selection, ended_by });
                }
            }
        }
    }

    fn room(&self) -> Result<Option<Room>, Closed> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Closed);
        }
        let room = self.shares.room(&state.under_way);
        state.leaves_some_out = room.as_ref().is_none_or(Room::leaves_some_out);
        Ok(room)
    }

    /// Takes a slot for a message that was received.
    pub(super) fn take(self: &Arc<Self>, delivery: &Delivery) -> Slot {
        let group = delivery.message.group();
        self.lock().under_way.begin(group);
        Slot { slots: Arc::clone(self), group: group.cloned() }
    }

    /// Nothing is to be received any longer.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
        self.closed.notify_one();
    }

    /// Waits for this long, or until the slots are closed.
    pub(super) async fn pause(&self, duration: Duration) {
        let _ = timeout(duration, self.closed.notified()).await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// How many slots are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().under_way.total()
    }

    /// Returns when no slot is taken.
    pub(super) async fn all_free(&self) {
        loop {
            let ended = self.ended.notified();
            if self.taken() == 0 {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Closed;

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        let leaves_some_out = {
            let mut state = slots.lock();
            state.under_way.end(self.group.as_ref());
            state.leaves_some_out
        };
        slots.ended.notify_waiters();
        if leaves_some_out {
            slots.changed.notify_one();
        }
    }
}
