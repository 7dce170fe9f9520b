//! Warnings about steps that end well, while their plugin does what it cannot have meant.

use std::time::Duration;

use bk_plugin_kit::runtime::StepOutcome;
use bk_plugin_kit::{CallbackWait, Next};

/// Something a plugin does that it cannot have meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pitfall {
    /// The invocation waits for a callback, and no callback URL exists. Only a first step shows it for certain: what a
    /// later step waits for may have been prepared by an earlier one.
    NoCallbackPrepared,
    /// The invocation polls without a pause and has come to this many steps.
    PollsWithoutPause(u32),
}

/// Steps without a pause between warnings.
const STEPS_WITHOUT_PAUSE: u32 = 1000;

impl Pitfall {
    /// The pitfall of a step that has ended.
    pub(super) fn of(invoke_count: u32, outcome: &StepOutcome) -> Option<Self> {
        match outcome {
            // A wait that ends by running the plugin is also a way to sleep.
            StepOutcome::Next(Next::Callback(CallbackWait::Forever | CallbackWait::OrFail(_)), state)
                if invoke_count == 1 && state.prepared == 0 =>
            {
                Some(Self::NoCallbackPrepared)
            }
            StepOutcome::Next(Next::Poll(Duration::ZERO), _)
                if invoke_count.is_multiple_of(STEPS_WITHOUT_PAUSE) =>
            {
                Some(Self::PollsWithoutPause(invoke_count))
            }
            _ => None,
        }
    }

    /// Warns of it, in the span of the step: that names the invocation and the version.
    pub(super) fn warn(self) {
        match self {
            Self::NoCallbackPrepared => {
                tracing::warn!("the plugin waits for a callback but has prepared none: no URL can wake it");
            }
            Self::PollsWithoutPause(steps) => {
                tracing::warn!(steps, "the plugin keeps polling with an interval of 0 s");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_kit::runtime::StepState;
    use serde_json::Value;

    use super::*;

    fn pitfall(invoke_count: u32, next: Next, prepared: u32) -> Option<Pitfall> {
        let state = StepState { storage: Value::Null, outputs: Value::Null, prepared };
        Pitfall::of(invoke_count, &StepOutcome::Next(next, state))
    }

    #[test]
    fn a_first_step_that_waits_for_a_callback_prepares_one() {
        let warned = pitfall;
        let minute = Duration::from_mins(1);
        assert_eq!(warned(1, Next::callback(), 0), Some(Pitfall::NoCallbackPrepared));
        assert_eq!(warned(1, Next::callback_or_fail(minute), 0), Some(Pitfall::NoCallbackPrepared));
        assert_eq!(warned(1, Next::callback(), 1), None);
        assert_eq!(warned(2, Next::callback(), 0), None, "an earlier step may have prepared it");
        assert_eq!(warned(1, Next::callback_or_run(minute), 0), None, "a way to sleep");
        assert_eq!(warned(1, Next::poll(minute), 0), None);
    }

    #[test]
    fn polling_without_a_pause_is_warned_of_every_thousand_steps() {
        let warned = |invoke_count, interval| pitfall(invoke_count, Next::poll(interval), 0);
        assert_eq!(warned(1000, Duration::ZERO), Some(Pitfall::PollsWithoutPause(1000)));
        assert_eq!(warned(2000, Duration::ZERO), Some(Pitfall::PollsWithoutPause(2000)));
        assert_eq!(warned(1001, Duration::ZERO), None);
        assert_eq!(warned(1000, Duration::from_millis(1)), None);
    }
}
