//! Checks that every invocation ends once faults stop. stateright's `eventually` does not see loops, and
//! putting a wake-up back is a loop. So the whole graph is built and searched backwards from its ends.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use stateright::Model;

use crate::properties::at_rest;
use crate::protocol::Protocol;
use crate::state::{Action, Met};

/// The result. Both fields are `None` if every invocation ends; otherwise they hold the actions that lead to
/// a state ...
#[derive(Debug, PartialEq, Eq)]
pub struct Ends {
    /// ... from which no path leads to rest without further faults.
    pub stuck: Option<Vec<Action>>,
    /// ... from which an endless loop exists that puts no wake-up back.
    pub looping: Option<Vec<Action>>,
}

fn is_fault(action: Action) -> bool {
    matches!(
        action,
        Action::InvokeDies
            | Action::CallDies(_)
            | Action::RunnerDies(_)
            | Action::Duplicate(_)
            | Action::LeaseEndsEarly
    )
}

/// Builds the graph and searches it.
pub fn check(model: &Protocol) -> Ends {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut states = model.init_states();
    let mut numbers = HashMap::from([(hasher.hash_one(&states[0]), 0)]);
    let mut parents: Vec<Option<(usize, Action)>> = vec![None];
    let mut graph: Vec<Vec<(Action, usize)>> = Vec::new();
    let mut rests = Vec::new();
    while !states.is_empty() {
        for state in std::mem::take(&mut states) {
            let from = graph.len();
            let mut edges = Vec::new();
            for (action, next) in model.next_steps(&state) {
                let to = *numbers.entry(hasher.hash_one(&next)).or_insert_with(|| {
                    states.push(next);
                    parents.push(Some((from, action)));
                    parents.len() - 1
                });
                edges.push((action, to));
            }
            graph.push(edges);
            rests.push(at_rest(&state));
        }
    }
    let can_end = settle(&graph, |state, edges, known| {
        rests[state] || edges.iter().any(|(action, to)| !is_fault(*action) && known[*to])
    });
    let must_end = settle(&graph, |_, edges, known| {
        let put_back = |action| matches!(action, Action::Meet(_, Met::Leased | Met::Behind));
        edges.iter().all(|(action, to)| put_back(*action) || known[*to])
    });
    let way_to = |state| {
        let mut way: Vec<Action> = Vec::new();
        let mut at = state;
        while let Some((from, action)) = parents[at] {
            way.insert(0, action);
            at = from;
        }
        way
    };
    Ends {
        stuck: can_end.iter().position(|ends| !ends).map(way_to),
        looping: must_end.iter().position(|ends| !ends).map(way_to),
    }
}

/// The smallest set of states that is closed under `rule`, which is given the states known to be in the set.
fn settle<Edges>(graph: &[Edges], rule: impl Fn(usize, &Edges, &[bool]) -> bool) -> Vec<bool> {
    let mut known = vec![false; graph.len()];
    loop {
        let before = known.iter().filter(|known| **known).count();
        for state in (0..graph.len()).rev() {
            known[state] = known[state] || rule(state, &graph[state], &known);
        }
        if known.iter().filter(|known| **known).count() == before {
            return known;
        }
    }
}
