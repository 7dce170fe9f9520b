//! What comes after a step.

use std::time::Duration;

/// What comes after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The invocation ends in SUCCESS.
    Done,
    /// POLL: `execute` is run again after this time.
    Poll(Duration),
    /// CALLBACK: `execute` is run again when a prepared callback is called.
    Callback(CallbackWait),
}

/// How long a callback is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackWait {
    /// Until it comes.
    Forever,
    /// This long; then the invocation ends in FAIL.
    OrFail(Duration),
    /// This long; then `execute` is run with [`Event::TimedOut`](crate::Event::TimedOut).
    OrRun(Duration),
}

impl Next {
    /// The invocation ends in SUCCESS.
    pub const fn done() -> Self {
        Self::Done
    }

    /// `execute` is run again after `interval`: the reference's `wait_poll`.
    pub const fn poll(interval: Duration) -> Self {
        Self::Poll(interval)
    }

    /// `execute` is run again when a prepared callback is called: the reference's `wait_callback`.
    pub const fn callback() -> Self {
        Self::Callback(CallbackWait::Forever)
    }

    /// As [`Next::callback`]; without a call for `timeout` the invocation ends in FAIL.
    pub const fn callback_or_fail(timeout: Duration) -> Self {
        Self::Callback(CallbackWait::OrFail(timeout))
    }

    /// As [`Next::callback`]; without a call for `timeout`, `execute` is run with [`Event::TimedOut`](crate::Event::TimedOut).
    pub const fn callback_or_run(timeout: Duration) -> Self {
        Self::Callback(CallbackWait::OrRun(timeout))
    }
}

/// So many seconds: `Next::poll(secs(5))`.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
