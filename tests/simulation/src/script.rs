//! The steps of the simulated plugin, drawn from the seed before anything runs.

use std::time::Duration;

use bk_plugin_kit::{CallbackWait, Next};
use rand::RngExt as _;

use crate::world::Dice;

/// The behaviour of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Goes on after a wait.
    Wait(Next),
    /// Ends in SUCCESS.
    Done,
    /// Ends with the author's error.
    Fail,
    /// Ends with the author's error, and with more state than a record takes.
    FailTooLarge,
    /// Ends with any other error.
    Unexpected,
    /// Panics.
    Panic,
    /// Never ends by itself.
    Hang,
    /// Returns more state than a record takes.
    TooLarge,
    /// Returns almost as much state as a record takes, and polls.
    Fill,
    /// Kills the process that runs it, each time.
    Kill,
}

/// Everything that the plugin will do.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// The steps; the last ends the invocation.
    pub(crate) steps: Vec<Step>,
    /// Bytes of storage added by each step.
    pub(crate) growth: usize,
    /// Whether the caller wants a finish callback.
    pub(crate) tells: bool,
    /// The step before which the version is removed.
    pub(crate) gone_before: Option<usize>,
    /// Longest time an ordinary step takes, in milliseconds.
    pub(crate) longest_step: u64,
}

impl Script {
    /// A script at random.
    pub(crate) fn draw(rng: &mut Dice) -> Self {
        let waits = [0, 1, 1, 2, 2, 3, 3, 4, 6][rng.random_range(0..9)];
        // Per script, so that some only poll, some only wait for callbacks, and most do both.
        let callbacks = [0, 30, 50, 70, 100][rng.random_range(0..5)];
        let mut steps: Vec<Step> = (0..waits).map(|_| Self::draw_wait(rng, callbacks)).collect();
        if rng.random_ratio(1, 25) && !steps.is_empty() {
            let at = rng.random_range(0..steps.len());
            steps[at] = Step::Fill;
        }
        steps.push(match rng.random_range(0..24) {
            0 | 1 => Step::Fail,
            2 => Step::Unexpected,
            3 => Step::Panic,
            4 => Step::Hang,
            5 => Step::TooLarge,
            6 => Step::FailTooLarge,
            7 => Step::Kill,
            _ => Step::Done,
        });
        Self {
            growth: [0, 0, 10, 500][rng.random_range(0..4)],
            tells: rng.random_ratio(2, 3),
            gone_before: rng.random_ratio(1, 20).then(|| rng.random_range(1..=steps.len())),
            longest_step: [1, 50, 3_000, 40_000][rng.random_range(0..4)],
            steps,
        }
    }

    fn draw_wait(rng: &mut Dice, callbacks: u32) -> Step {
        if !rng.random_ratio(callbacks, 100) {
            let seconds = [0, 0, 1, 5, 30, 200, 2000][rng.random_range(0..7)];
            return Step::Wait(Next::Poll(Duration::from_secs(seconds)));
        }
        let timeout = Duration::from_secs([1, 10, 60, 300, 1500][rng.random_range(0..5)]);
        Step::Wait(Next::Callback(match rng.random_range(0..4) {
            0 => CallbackWait::OrFail(timeout),
            1 => CallbackWait::OrRun(timeout),
            _ => CallbackWait::Forever,
        }))
    }
}
