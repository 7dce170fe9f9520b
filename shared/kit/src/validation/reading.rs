//! Foresees what serde costs to read values as the author's type.
//!
//! serde keeps a copy of what it reads as a union, and tries one member after the other if the union has no tag, each
//! with all that is in the value. So a recursive type without tags costs exponential time, whatever reads it. That
//! code is in the author's type; all that can be done is to count before and to refuse.

use std::collections::HashMap;

use serde_json::Value;

use super::plan::{Kind, NodeId, Union};
use super::walk::{Met, Walk};
use super::work::size;

/// The values that serde reads in each value, for each definition.
#[derive(Default)]
pub(super) struct Reading {
    known: HashMap<Met, u64>,
    sizes: HashMap<*const Value, u64>,
}

impl Walk<'_> {
    /// Counts what it costs to read values that fit. If that is too much, the work is over.
    pub(super) fn foresee_reading(&mut self, values: &Value) {
        if self.plan.has_unions {
            let read = self.foreseen_reading(values);
            self.work.foresee(read);
        }
    }

    /// How many values serde reads, at most.
    pub(super) fn foreseen_reading(&mut self, values: &Value) -> u64 {
        self.values_read(self.plan.root, values, &mut Reading::default())
    }

    fn values_read(&mut self, id: NodeId, value: &Value, known: &mut Reading) -> u64 {
        let plan = self.plan;
        if !self.work.spend(1) {
            return u64::MAX;
        }
        match (&plan[id].kind, value) {
            (Kind::Reference(definition), _) => {
                let met = (*definition, std::ptr::from_ref(value));
                if let Some(read) = known.known.get(&met) {
                    return *read;
                }
                let read = self.values_read(*definition, value, known);
                known.known.insert(met, read);
                read
            }
            (Kind::All(parts), _) => {
                let parts = parts.iter().map(|part| self.values_read(*part, value, known));
                parts.fold(0, u64::saturating_add)
            }
            (Kind::Union(union), _) => self.values_read_to_choose(union, value, known),
            (Kind::List(items) | Kind::Set(items), Value::Array(values)) => {
                self.values_read_inside(values.iter().map(|value| (*items, value)), known)
            }
            (Kind::Tuple(items), Value::Array(values)) => {
                self.values_read_inside(items.iter().copied().zip(values), known)
            }
            (Kind::Object(object), Value::Object(values)) => {
                let values = values.iter().flat_map(|(name, value)| {
                    object.nodes_of(name).into_iter().flatten().map(move |node| (node, value))
                });
                self.values_read_inside(values, known)
            }
            (Kind::Any, value) => size(value),
            _ => 1,
        }
    }

    /// Reading ends with the first value that does not fit.
    fn values_read_inside<'v>(
        &mut self,
        values: impl Iterator<Item = (NodeId, &'v Value)>,
        known: &mut Reading,
    ) -> u64 {
        let mut read: u64 = 1;
        self.inside(|walk| {
            for (node, value) in values {
                read = read.saturating_add(walk.values_read(node, value, known));
                if !walk.is_valid(node, value) {
                    break;
                }
            }
            true
        });
        read
    }

    fn values_read_to_choose(&mut self, union: &Union, value: &Value, known: &mut Reading) -> u64 {
        let mut read = known.size(value);
        let members = if union.exactly_one { self.members(union, value) } else { union.members.clone() };
        for member in &members {
            let fits = self.is_valid(*member, value);
            // Where a value is of exactly one member, a constant tells serde which.
            if fits || !union.exactly_one {
                read = read.saturating_add(self.values_read(*member, value, known));
            }
            if fits {
                break;
            }
        }
        read
    }
}

impl Reading {
    /// How many values there are in a value, itself included.
    fn size(&mut self, value: &Value) -> u64 {
        let address = std::ptr::from_ref(value);
        if let Some(size) = self.sizes.get(&address) {
            return *size;
        }
        let inner: u64 = match value {
            Value::Array(values) => values.iter().map(|value| self.size(value)).sum(),
            Value::Object(values) => values.values().map(|value| self.size(value)).sum(),
            _ => return 1,
        };
        self.sizes.insert(address, inner + 1);
        inner + 1
    }
}
