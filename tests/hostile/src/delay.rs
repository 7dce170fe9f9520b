//! How late things were: steps of the innocent, and answers of `/healthz`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by this machine's clock, which the server reads, too.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// One thing that was late, perhaps by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delay {
    by: Duration,
    /// It had not happened when the trial ended: it was later than that.
    open: bool,
    /// When it was due, in milliseconds.
    due: i64,
}

impl Delay {
    /// Of something that was due at `due` and happened at `done`.
    pub fn of(due: i64, done: i64) -> Self {
        Self { by: between(due, done), open: false, due }
    }

    /// Of something that had not happened at `end`.
    pub fn open(due: i64, end: i64) -> Self {
        Self { by: between(due, end), open: true, due }
    }

    /// Whether it was due before `end`.
    pub(crate) fn is_due_before(&self, end: i64) -> bool {
        self.due < end
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.open { "> " } else { "" };
        match self.by.as_millis() {
            millis @ ..1000 => write!(f, "{more}{millis} ms"),
            _ => write!(f, "{more}{:.1} s", self.by.as_secs_f64()),
        }
    }
}

fn between(earlier: i64, later: i64) -> Duration {
    Duration::from_millis(u64::try_from(later - earlier).unwrap_or(0))
}

/// The 99th percentile of what was due in `window`; `None` if nothing was.
pub fn p99(delays: &[Delay], window: Range<i64>) -> Option<Delay> {
    let mut within: Vec<_> = delays.iter().filter(|delay| window.contains(&delay.due)).copied().collect();
    within.sort_unstable();
    let last = within.len().checked_sub(1)?;
    Some(within[(within.len() * 99 / 100).min(last)])
}

/// The delays of the steps in a journal of [`Polls`](crate::innocent::Polls) that is read at `end`: each line has the
/// invocation, the step, when it is due and when it has begun.
pub fn of_steps(journal: &str, end: i64) -> Vec<Delay> {
    // The last line of a step counts: that of the run that was not interrupted.
    let mut steps = BTreeMap::new();
    for line in journal.lines() {
        if let [trace_id, step, due, begun] = line.split(' ').collect::<Vec<_>>()[..]
            && let Ok(due) = due.parse::<i64>()
        {
            steps.insert((trace_id, step), (due, begun.parse::<i64>().ok()));
        }
    }
    let due_steps = steps.into_values().filter(|(due, _)| *due < end);
    due_steps.map(|(due, begun)| begun.map_or(Delay::open(due, end), |begun| Delay::of(due, begun))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_has_not_begun_is_late_until_the_end() {
        let journal = "a 2 200 -\na 2 200 205\na 3 300 -\na 3 300 310\na 3 300 700\nb 2 250 -\nc 2 900 -\n";
        let delays = of_steps(journal, 800);
        assert_eq!(delays, [Delay::of(200, 205), Delay::of(300, 700), Delay::open(250, 800)]);
        assert_eq!(p99(&delays, 0..1000).unwrap().to_string(), "> 550 ms");
        assert_eq!(p99(&delays, 0..250).unwrap().to_string(), "5 ms");
        assert_eq!(p99(&delays, 900..1000), None);
    }
}
