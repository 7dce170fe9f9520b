//! Whether a history is linearizable: whether each call can be given a moment between its beginning and its
//! end, so that one client after the other, in the order of these moments, would have been answered the same.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993), with Lowe's memory
//! of what was tried ("Testing for linearizability", 2017): pick a call that no other call ended before, see
//! whether the specification answers it as the store did, go on from there, and come back if that leads
//! nowhere. A pair of (calls taken, state) that led nowhere is not tried again.

use std::collections::HashMap;
use std::fmt;

/// What a single client would see.
pub trait Specification {
    /// What operations change.
    type State: Clone + PartialEq + fmt::Debug;
    /// What a client asks.
    type Operation: fmt::Debug;
    /// What it is answered.
    type Answer: PartialEq + fmt::Debug;

    /// The state after an operation, and its answer.
    fn apply(&self, state: &Self::State, operation: &Self::Operation) -> (Self::State, Self::Answer);

    /// Whether the rest of the history can possibly be found from this state on. Saying no where it could
    /// makes the check wrong; saying yes only makes it slower.
    fn may_lead_on(&self, _state: &Self::State) -> bool {
        true
    }
}

/// One call of a history.
#[derive(Debug, Clone)]
pub struct Call<O, A> {
    /// Who called.
    pub client: usize,
    /// What was asked.
    pub operation: O,
    /// What was answered; `None` if the call failed and nobody knows whether it had an effect.
    pub answer: Option<A>,
    /// When the call began. Beginnings and ends are numbered in one sequence.
    pub began: u64,
    /// When it was answered.
    pub ended: u64,
}

impl<O, A> Call<O, A> {
    /// A call whose effect is unknown may have one long after it failed.
    fn deadline(&self) -> u64 {
        if self.answer.is_some() { self.ended } else { u64::MAX }
    }
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order: the calls, by index, those that had no effect and no answer left out.
    Linearizable {
        /// The order.
        order: Vec<usize>,
        /// States that were looked at.
        visited: usize,
    },
    /// There is none.
    Violation {
        /// The longest beginning of an order that was found.
        longest: Vec<usize>,
        /// The calls of which one would have to be next.
        stuck: Vec<usize>,
    },
    /// The search was given up.
    Undecided,
}

/// States looked at before a search is given up.
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
    /// The calls as they began.
    by_beginning: Vec<usize>,
    /// Calls without an answer need not be taken.
    answered: usize,
    initial: S::State,
    taken: Bits,
    tried: HashMap<Bits, Vec<S::State>>,
    /// The way to where the search is.
    way: Vec<Node<S::State>>,
    visited: usize,
    longest: Vec<usize>,
    stuck: Vec<usize>,
}

/// A call that was taken, and what can be taken after it, each with the state it leads to.
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
        let tried = self.tried.entry(self.taken.clone()).or_default();
        if tried.contains(&state) {
            self.taken.set(call, false);
            return;
        }
        tried.push(state.clone());
        self.visited += 1;
        self.answered -= usize::from(self.history[call].answer.is_some());
        let next = self.next(&state);
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
            let (after, answer) = self.specification.apply(state, &self.history[call].operation);
            let changes = after != *state;
            match &self.history[call].answer {
                Some(given) if *given != answer => {}
                // It fits here and changes nothing: whatever order there is from here on, there is one that
                // begins with it.
                Some(_) if !changes => return vec![(call, after)],
                None if !changes => {}
                _ if !self.specification.may_lead_on(&after) => {}
                _ => next.push((call, after)),
            }
        }
        next.sort_by_key(|(call, _)| std::cmp::Reverse(self.history[*call].deadline()));
        next
    }

    /// The calls one of which is next: none that is not taken yet has ended before they began.
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

/// Says in words where a history stops making sense.
pub fn explain<S: Specification>(
    specification: &S,
    initial: S::State,
    history: &[Call<S::Operation, S::Answer>],
    verdict: &Verdict,
) -> String {
    let Verdict::Violation { longest, stuck } = verdict else { return format!("{verdict:?}") };
    let mut state = initial;
    for call in longest {
        state = specification.apply(&state, &history[*call].operation).0;
    }
    let mut text = format!(
        "no order of the {} calls explains their answers. After {} of them, the last ones being\n",
        history.len(),
        longest.len()
    );
    for call in longest.iter().rev().take(5).rev().chain(stuck) {
        if *call == stuck.first().copied().unwrap_or(usize::MAX) {
            text.push_str(&format!("the state is\n  {state:?}\nand one of these would have to be next:\n"));
        }
        let Call { client, operation, answer, began, ended } = &history[*call];
        text.push_str(&format!("  client {client} [{began}..{ended}] {operation:?}\n    -> {answer:?}\n"));
    }
    text
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
