//! The wake-up protocol as a model whose every state is looked at: some runners, one invocation, callbacks,
//! and faults at any point.
//!
//! [`mod@state`] has the words, [`protocol`] the rules, [`properties`] what must hold in every state, [`termination`] that everything
//! ends, [`cases`] how much is explored. A rule can be left out ([`Mutation`]) to see what it is for.
#![deny(missing_docs)]

pub mod cases;
pub mod properties;
pub mod protocol;
pub mod state;
pub mod termination;

pub use protocol::{Mutation, Protocol};

use stateright::{Checker, HasDiscoveries, Model};

/// What an exploration found.
#[derive(Debug)]
pub struct Found {
    /// Different states that were looked at; all there are, if nothing is broken.
    pub states: usize,
    /// A property that does not hold, and a shortest way to a state where it does not.
    pub broken: Option<(&'static str, Vec<state::Action>)>,
}

/// Looks at every state of a model; when a property is broken, at fewer and fewer, for the shortest way there.
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
