//! What becomes of an offender, and what is promised of it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// The states of an invocation as `schedule` answers with them.
const POLL: u64 = 2;
const CALLBACK: u64 = 3;
const SUCCESS: u64 = 4;
const FAIL: u64 = 5;

/// What became of one invocation, or of one request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// SUCCESS.
    Succeeded,
    /// FAIL, with `err`.
    Failed(String),
    /// POLL.
    Polls,
    /// CALLBACK.
    Waits,
    /// Not an invocation: the status and the message of the answer.
    Answered(u16, String),
    /// No answer came, or none that is JSON.
    NoAnswer,
}

impl Outcome {
    /// What the data of `schedule` or `invoke` says.
    pub fn of(data: &Value) -> Self {
        match data["state"].as_u64() {
            Some(POLL) => Self::Polls,
            Some(CALLBACK) => Self::Waits,
            Some(SUCCESS) => Self::Succeeded,
            Some(FAIL) => Self::Failed(data["err"].as_str().unwrap_or_default().to_owned()),
            _ => Self::NoAnswer,
        }
    }

    /// Whether the invocation has ended.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed(_) | Self::Answered(..))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => write!(f, "SUCCESS"),
            Self::Failed(err) => write!(f, "FAIL, `{}`", beginning(err)),
            Self::Polls => write!(f, "POLL"),
            Self::Waits => write!(f, "CALLBACK"),
            Self::Answered(status, message) => write!(f, "{status}, `{}`", beginning(message)),
            Self::NoAnswer => write!(f, "no answer"),
        }
    }
}

/// What a row has room for, without the words that every such text begins with.
fn beginning(text: &str) -> String {
    const LONGEST: usize = 90;
    let text = text.strip_prefix("plugin schedule failed: ").unwrap_or(text).replace(['|', '`', '\n'], " ");
    if text.len() <= LONGEST { text } else { format!("{}...", &text[..text.floor_char_boundary(LONGEST)]) }
}

/// The outcomes, equal ones together: `3 × SUCCESS, 1 × POLL`.
pub fn counted(outcomes: &[Outcome]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.to_string()).or_default() += 1;
    }
    let parts = counts.into_iter().map(|(outcome, count)| match count {
        1 => outcome,
        _ => format!("{count} × {outcome}"),
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// What is promised of each invocation or request of an offender.
#[derive(Debug, Clone, Copy)]
pub enum Promise {
    /// It ends in SUCCESS.
    Succeeds,
    /// It ends in FAIL, and `err` contains this.
    Fails(&'static str),
    /// It polls on.
    Polls,
    /// It waits on for a callback.
    Waits,
    /// The request is answered with this status.
    Answered(u16),
    /// The connection breaks, because the process ends in the first step.
    NoAnswer,
}

impl Promise {
    /// Whether the outcome is the one that is promised.
    pub fn is_kept_by(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Succeeds, Outcome::Succeeded)
            | (Self::Polls, Outcome::Polls)
            | (Self::Waits, Outcome::Waits)
            | (Self::NoAnswer, Outcome::NoAnswer) => true,
            (Self::Fails(reason), Outcome::Failed(err)) => err.contains(reason),
            (Self::Answered(promised), Outcome::Answered(status, _)) => promised == status,
            _ => false,
        }
    }

    /// Whether an offender that keeps it comes to an end.
    pub fn has_an_end(&self) -> bool {
        !matches!(self, Self::Polls | Self::Waits)
    }
}
