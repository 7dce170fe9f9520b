//! Delays between attempts.

use std::time::Duration;

/// Doubling delays between attempts.
#[derive(Debug, Clone, Copy)]
pub struct BackOff {
    /// The first delay.
    pub first: Duration,
    /// The longest delay.
    pub longest: Duration,
}

impl BackOff {
    /// The delay before attempt `attempt + 1`; `attempt` counts from 0.
    pub fn delay(&self, attempt: u32) -> Duration {
        self.first.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.longest)
    }
}
