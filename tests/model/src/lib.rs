//! A model of the wake-up protocol, of which every state is checked: some runners, one invocation, callbacks,
//! and faults at any point.
//!
//! [`mod@state`] has the types, [`protocol`] the rules, [`properties`] what must hold in every state,
//! [`termination`] the check that every invocation ends, and [`cases`] the models that are explored. A rule
//! can be left out ([`Mutation`]) to prove that it is needed.
#![deny(missing_docs)]

pub mod cases;
pub mod properties;
pub mod protocol;
pub mod state;
pub mod termination;

pub use protocol::{Mutation, Protocol};

use stateright::{Checker, HasDiscoveries, Model};

/// The result of an exploration.
#[derive(Debug)]
pub struct Found {
    /// Number of distinct states visited. If no property is broken, these are all states.
    pub states: usize,
    /// A property that does not hold, and a shortest path to a state that breaks it.
    pub broken: Option<(&'static str, Vec<state::Action>)>,
}

/// Visits every state of a model. If a property is broken, searches again with less and less depth, for the
/// shortest path to a state that breaks it.
pub fn explore(model: Protocol) -> Found {
    let mut found = Found { states: 0, broken: None };
    loop {
        let mut checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
        if let Some((_, way)) = &found.broken {
            checker = checker.target_max_depth(way.len() + 1);
        }
        let checker = checker.spawn_bfs().join();
        let ways = checker.discoveries().into_iter().map(|(property, path)| (property, path.into_actions()));
        let shortest = ways.min_by_key(|(property, way)| (way.len(), *property));
        found.states = found.states.max(checker.unique_state_count());
        if shortest.is_none() {
            return found;
        }
        found.broken = shortest;
    }
}
