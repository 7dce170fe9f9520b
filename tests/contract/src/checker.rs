//! Whether a history is linearizable: whether each call can be given a moment between its beginning and its
//! end, so that one client after the other, in the order of these moments, would have been answered the same.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993), with Lowe's memory
//! of earlier attempts ("Testing for linearizability", 2017). It picks a call that began before any other
//! open call ended, checks that the specification gives the store's answer, goes on from the new state, and
//! backtracks when no call fits. A pair of (calls taken, state) that failed once is not tried again.

use std::collections::HashMap;
use std::fmt;

/// The sequential specification: the answers that a single client would get.
pub trait Specification {
    /// The state that operations change.
    type State: Clone + PartialEq;
    /// An operation that a client asks for.
    type Operation: fmt::Debug;
    /// The answer to an operation.
    type Answer: PartialEq + fmt::Debug;

    /// The state after an operation that got this answer; with `None`, after the operation with any answer.
    /// Returns `None` if the operation would get another answer, or if the rest of the history shows that
    /// another operation came next.
    fn step(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;

    /// Whether an operation with this answer never changes the state. A wrong `true` makes the check wrong; a
    /// wrong `false` only makes it slower.
    fn is_pure(&self, _operation: &Self::Operation, _answer: &Self::Answer) -> bool {
        false
    }

    /// Describes the state in a few words.
    fn tell(&self, state: &Self::State) -> String;
}

/// One call of a history.
#[derive(Debug, Clone)]
pub struct Call<O, A> {
    /// The client that called.
    pub client: usize,
    /// The operation.
    pub operation: O,
    /// The answer; `None` if the call failed and may or may not have had an effect.
    pub answer: Option<A>,
    /// When the call began. Beginnings and ends are numbered in one sequence.
    pub began: u64,
    /// When the answer came.
    pub ended: u64,
}

impl<O, A> Call<O, A> {
    /// The end of a call that failed: its effect may still come at any later time.
    fn deadline(&self) -> u64 {
        if self.answer.is_some() { self.ended } else { u64::MAX }
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The history is linearizable.
    Linearizable {
        /// The order that explains it: indices of calls, without those that had neither an effect nor an
        /// answer.
        order: Vec<usize>,
        /// Number of states visited.
        visited: usize,
    },
    /// The history is not linearizable.
    Violation {
        /// The longest beginning of an order that was found, as indices of calls.
        longest: Vec<usize>,
        /// The calls one of which would have to be next; none of them fits.
        stuck: Vec<usize>,
    },
    /// The search was given up.
    Undecided,
}

/// Number of states visited before the search gives up.
const MOST_VISITED: usize = 1_000_000;

/// Checks a history.
pub fn check<S: Specification>(
    specification: &S,
    initial: S::State,
    history: &[Call<S::Operation, S::Answer>],
) -> Verdict {
    Search::new(specification, initial, history).run()
}

struct Search<'a, S: Specification> {
    specification: &'a S,
    history: &'a [Call<S::Operation, S::Answer>],
    /// The calls, ordered by their beginnings.
    by_beginning: Vec<usize>,
    /// Only calls with an answer must be taken.
    answered: usize,
    initial: S::State,
    taken: Bits,
    tried: HashMap<Bits, Vec<S::State>>,
    /// The steps that led to the current position of the search.
    way: Vec<Node<S::State>>,
    visited: usize,
    longest: Vec<usize>,
    stuck: Vec<usize>,
}

/// A call that was taken, and the calls that can be taken after it, each with the state it leads to.
struct Node<T> {
    call: Option<usize>,
    next: Vec<(usize, T)>,
}

impl<'a, S: Specification> Search<'a, S> {
    fn new(specification: &'a S, initial: S::State, history: &'a [Call<S::Operation, S::Answer>]) -> Self {
        let mut by_beginning: Vec<_> = (0..history.len()).collect();
        by_beginning.sort_by_key(|call| history[*call].began);
        Self {
            specification,
            history,
            by_beginning,
            answered: history.iter().filter(|call| call.answer.is_some()).count(),
            initial,
            taken: Bits::new(history.len()),
            tried: HashMap::new(),
            way: Vec::new(),
            visited: 0,
            longest: Vec::new(),
            stuck: Vec::new(),
        }
    }

    fn run(mut self) -> Verdict {
        let next = self.next(&self.initial);
        self.way.push(Node { call: None, next });
        self.note_longest();
        while self.answered > 0 {
            if self.visited > MOST_VISITED {
                return Verdict::Undecided;
            }
            let Some(node) = self.way.last_mut() else {
                return Verdict::Violation { longest: self.longest, stuck: self.stuck };
            };
            match node.next.pop() {
                Some((call, state)) => self.take(call, state),
                None => self.go_back(),
            }
        }
        Verdict::Linearizable { order: self.order(), visited: self.visited }
    }

    fn take(&mut self, call: usize, state: S::State) {
        self.taken.set(call, true);
        if self.tried.get(&self.taken).is_some_and(|tried| tried.contains(&state)) {
            self.taken.set(call, false);
            return;
        }
        let next = self.next(&state);
        self.tried.entry(self.taken.clone()).or_default().push(state);
        self.visited += 1;
        self.answered -= usize::from(self.history[call].answer.is_some());
        self.way.push(Node { call: Some(call), next });
        self.note_longest();
    }

    fn go_back(&mut self) {
        let Some(call) = self.way.pop().and_then(|node| node.call) else { return };
        self.taken.set(call, false);
        self.answered += usize::from(self.history[call].answer.is_some());
    }

    /// The calls that can be taken from a state, the best guess last, with the states they lead to.
    fn next(&self, state: &S::State) -> Vec<(usize, S::State)> {
        let mut next = Vec::new();
        for call in self.open() {
            let Call { operation, answer, .. } = &self.history[call];
            let Some(after) = self.specification.step(state, operation, answer.as_ref()) else { continue };
            match answer {
                // If any order continues from here, one of them begins with this call.
                Some(answer) if self.specification.is_pure(operation, answer) => return vec![(call, after)],
                // The call need not be taken, and taking it changes nothing.
                None if after == *state => {}
                _ => next.push((call, after)),
            }
        }
        next.sort_by_key(|(call, _)| std::cmp::Reverse(self.history[*call].deadline()));
        next
    }

    /// The calls that may be next: those that began before any call not yet taken ended.
    fn open(&self) -> Vec<usize> {
        let mut open = Vec::new();
        let mut first_end = u64::MAX;
        for call in &self.by_beginning {
            if self.taken.get(*call) {
                continue;
            }
            if self.history[*call].began > first_end {
                break;
            }
            first_end = first_end.min(self.history[*call].deadline());
            open.push(*call);
        }
        open
    }

    fn order(&self) -> Vec<usize> {
        self.way.iter().filter_map(|node| node.call).collect()
    }

    fn note_longest(&mut self) {
        if self.way.len() > self.longest.len() + 1 || self.stuck.is_empty() {
            self.longest = self.order();
            self.stuck = self.open();
        }
    }
}

/// Describes the point at which no order explains the history.
pub fn explain<S: Specification>(
    specification: &S,
    initial: S::State,
    history: &[Call<S::Operation, S::Answer>],
    verdict: &Verdict,
) -> String {
    let Verdict::Violation { longest, stuck } = verdict else { return format!("{verdict:?}") };
    let mut state = initial;
    for call in longest {
        let Call { operation, answer, .. } = &history[*call];
        state = specification.step(&state, operation, answer.as_ref()).unwrap_or(state);
    }
    let tell = |calls: &[usize]| -> String {
        calls.iter().map(|call| history[*call].to_string()).collect::<Vec<_>>().concat()
    };
    format!(
        "no order of the {} calls explains their answers. After {} of them, the last ones being\n{}\
         the state is\n  {}\nand one of these would have to be next:\n{}",
        history.len(),
        longest.len(),
        tell(&longest[longest.len().saturating_sub(8)..]),
        specification.tell(&state),
        tell(stuck),
    )
}

impl<O: fmt::Debug, A: fmt::Debug> fmt::Display for Call<O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, operation, answer, began, ended } = self;
        write!(f, "  [{began}..{ended}] client {client}: {operation:?} -> ")?;
        match answer {
            Some(answer) => writeln!(f, "{answer:?}"),
            None => writeln!(f, "no answer"),
        }
    }
}

/// A set of small numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    fn get(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn set(&mut self, index: usize, value: bool) {
        let bit = 1 << (index % 64);
        if value { self.0[index / 64] |= bit } else { self.0[index / 64] &= !bit }
    }
}

#[cfg(test)]
mod tests;
