use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};

/// A clock that a test moves.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    sleepers: Vec<(Timestamp, oneshot::Sender<()>)>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_800_000_000_000))
    }
}

impl ManualClock {
    /// A clock that is at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { state: Mutex::new(State { now, sleepers: Vec::new() }) }
    }

    /// Sets the clock back, as a machine's can be. Sleepers wait for the time that they wanted to wait until.
    pub fn set_back(&self, duration: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        state.now = Timestamp::from_millis(state.now.as_millis().saturating_sub(millis));
    }

    /// Advances the clock and wakes the sleepers whose time has come.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.now + duration;
        let now = state.now;
        for (_, sleeper) in state.sleepers.extract_if(.., |(until, _)| *until <= now) {
            // The sleeper may have been dropped.
            let _ = sleeper.send(());
        }
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    async fn sleep(&self, duration: Duration) {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let until = state.now + duration;
            state.sleepers.push((until, wake));
        }
        let _ = woken.await;
    }
}
