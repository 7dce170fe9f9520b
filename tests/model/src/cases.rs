//! The models that are explored.

use crate::protocol::Protocol;
use crate::state::Next::{self, Callback, Done, Poll};

/// A model and its name.
pub type Case = (&'static str, Protocol);

const fn case(steps: &'static [Next], callbacks: usize, faults: [u8; 3]) -> Protocol {
    let [crashes, duplicates, early_ends] = faults;
    Protocol {
        steps,
        steps_fail: false,
        callbacks,
        runners: 2,
        crashes,
        duplicates,
        early_ends,
        mutation: None,
    }
}

const fn failing(model: Protocol) -> Protocol {
    Protocol { steps_fail: true, ..model }
}

/// Polls and callbacks, without intervals or deadlines.
pub const ORDER: [Case; 6] = [
    ("poll, poll, done", case(&[Poll(0), Poll(0), Done], 0, [2, 1, 1])),
    ("callback, done", case(&[Callback(None), Done], 1, [2, 1, 1])),
    ("callback, callback, done", case(&[Callback(None), Callback(None), Done], 2, [1, 1, 0])),
    ("poll, callback, done", case(&[Poll(0), Callback(None), Done], 1, [2, 1, 1])),
    ("callback, poll, callback, done", case(&[Callback(None), Poll(0), Callback(None), Done], 2, [1, 0, 1])),
    ("poll, callback, callback, done", case(&[Poll(0), Callback(None), Callback(None), Done], 2, [1, 0, 0])),
];

/// Intervals, deadlines, and steps that fail in one run and not in the next.
pub const TIME: [Case; 6] = [
    ("poll 1, poll 1, done", case(&[Poll(1), Poll(1), Done], 0, [1, 1, 1])),
    ("callback within 1, done", case(&[Callback(Some(1)), Done], 1, [2, 1, 1])),
    ("poll 1, callback within 1, done", case(&[Poll(1), Callback(Some(1)), Done], 1, [1, 0, 0])),
    ("poll 1, callback within 1, done", case(&[Poll(1), Callback(Some(1)), Done], 1, [0, 1, 1])),
    ("callback within 1, twice, done", case(&[Callback(Some(1)), Callback(Some(1)), Done], 1, [1, 0, 0])),
    ("poll, poll, done; steps fail", failing(case(&[Poll(0), Poll(0), Done], 0, [2, 1, 1]))),
];

/// Larger models: they take minutes and some gigabytes of memory.
pub const LARGE: [Case; 3] = [
    ("poll 1, callback within 1, done", case(&[Poll(1), Callback(Some(1)), Done], 1, [1, 1, 1])),
    ("poll, callback, callback, done", case(&[Poll(0), Callback(None), Callback(None), Done], 2, [1, 1, 0])),
    ("callback, done; three runners", Protocol { runners: 3, ..case(&[Callback(None), Done], 1, [2, 1, 1]) }),
];
