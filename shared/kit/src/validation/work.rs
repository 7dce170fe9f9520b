//! The work that a check may cost, counted and not timed, so that the same values always end in the same way.

use serde_json::Value;

use super::Problem;

/// Looks at a value that any check may cost. A look takes some 20 to 200 ns.
const LOOKS: u64 = 10_000_000;
/// Looks more for each value there is. A walk needs as many only for a schema with hundreds of alternatives.
const LOOKS_FOR_EACH_VALUE: u64 = 200;
/// Values that serde may read for any type: half a second without optimization, a twentieth with it.
const READ: u64 = 1_000_000;
/// Values that serde may read more for each value there is: a copy on each of that many levels.
const READ_FOR_EACH_VALUE: u64 = 64;
/// Values inside of values. `serde_json` reads as many levels, so only a value that was made here can have more.
const LEVELS: usize = 128;

/// Counts the looks of one check.
#[derive(Debug)]
pub(super) struct Work {
    spent: u64,
    limit: u64,
    read_limit: u64,
    level: usize,
    over: Option<Over>,
}

/// Why a check is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    TooMuch,
    TooDeep,
}

impl Work {
    pub(super) fn on(values: &Value) -> Self {
        let size = size(values);
        Self {
            spent: 0,
            limit: LOOKS.saturating_add(LOOKS_FOR_EACH_VALUE.saturating_mul(size)),
            read_limit: READ.saturating_add(READ_FOR_EACH_VALUE.saturating_mul(size)),
            level: 0,
            over: None,
        }
    }

    /// Says how many values serde will read.
    pub(super) fn foresee(&mut self, read: u64) {
        if read > self.read_limit {
            self.over.get_or_insert(Over::TooMuch);
        }
    }

    /// Counts looks. Once the work is over, it answers false; then nothing fits, so that a walk ends at once.
    pub(super) fn spend(&mut self, looks: u64) -> bool {
        self.spent = self.spent.saturating_add(looks);
        if self.spent > self.limit {
            self.over.get_or_insert(Over::TooMuch);
        }
        self.over.is_none()
    }

    /// How many looks were spent.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// Goes one level deeper into the values; false if that is too deep. [`Work::leave`] comes back in any case.
    pub(super) fn enter(&mut self) -> bool {
        self.level += 1;
        if self.level > LEVELS {
            self.over.get_or_insert(Over::TooDeep);
        }
        self.over.is_none()
    }

    /// Comes back from a level.
    pub(super) fn leave(&mut self) {
        self.level -= 1;
    }

    /// The refusal, if the work is over.
    pub(super) fn refusal(&self) -> Option<Problem> {
        let message = match self.over? {
            Over::TooMuch => {
                "too much to check: the values are nested too deep for types with so many alternatives"
            }
            Over::TooDeep => "nested deeper than 128 levels",
        };
        Some(Problem { field: String::new(), message: message.to_owned() })
    }
}

/// How many values there are, one inside the other.
pub(super) fn size(values: &Value) -> u64 {
    let mut size = 0;
    let mut left = vec![values];
    while let Some(value) = left.pop() {
        size += 1;
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(members) => left.extend(members.values()),
            _ => {}
        }
    }
    size
}
