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

/// The delays of the steps in a journal of [`Polls`](crate::innocent::Polls) that is read at `end`.
pub fn of_steps(journal: &str, end: i64) -> Vec<Delay> {
    // A step that ran again has several lines. The last counts.
    let mut steps: BTreeMap<(&str, u32), [i64; 3]> = BTreeMap::new();
    for line in journal.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [trace_id, step, due, begun, next_due] = fields[..]
            && let (Ok(step), Ok(due), Ok(begun), Ok(next_due)) =
                (step.parse(), due.parse(), begun.parse(), next_due.parse())
        {
            steps.insert((trace_id, step), [due, begun, next_due]);
        }
    }
    let mut delays = Vec::new();
    for ((trace_id, step), [due, begun, next_due]) in &steps {
        if *due > 0 {
            delays.push(Delay::of(*due, *begun));
        }
        let is_next_open = *next_due > 0 && !steps.contains_key(&(*trace_id, step + 1));
        if is_next_open && *next_due < end {
            delays.push(Delay::open(*next_due, end));
        }
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_have_not_begun_are_late_until_the_end() {
        let journal = "a 1 0 100 200\na 2 200 205 300\nb 1 0 100 900\nc 1 0 100 0\n";
        let delays = of_steps(journal, 800);
        assert_eq!(delays, [Delay::of(200, 205), Delay::open(300, 800)]);
        assert_eq!(p99(&delays, 0..1000).unwrap().to_string(), "> 500 ms");
        assert_eq!(p99(&delays, 0..250).unwrap().to_string(), "5 ms");
        assert_eq!(p99(&delays, 900..1000), None);
    }
}
