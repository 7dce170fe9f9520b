//! What coercion changes in a value.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

/// How a value differs from what was sent. Cloning it is cheap, so that the walk can keep the patch of each value.
#[derive(Debug, Clone)]
pub(super) enum Patch {
    Same,
    /// Another value, which is small: a scalar or an empty object.
    Value(Rc<Value>),
    /// Changes in items of a list or values of an object, by their position.
    Inside(Rc<[(usize, Patch)]>),
    /// The same for a set, in which a value that is there again is left out.
    Distinct(Rc<[(usize, Patch)]>),
    /// An object made of a list of pairs: for each key, the position of the pair with its value.
    Pairs(Rc<[(String, usize, Patch)]>),
}

impl Patch {
    /// The patch of the items that change.
    pub(super) fn inside(changes: Vec<(usize, Self)>) -> Self {
        if changes.is_empty() { Self::Same } else { Self::Inside(changes.into()) }
    }

    pub(super) fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }

    /// Both changes of the same value. Where they contradict each other the later one counts.
    pub(super) fn and(self, later: Self) -> Self {
        match (self, later) {
            (earlier, Self::Same) => earlier,
            (Self::Inside(earlier), Self::Inside(later)) => Self::Inside(merged(&earlier, &later)),
            (Self::Pairs(earlier), Self::Pairs(later)) if earlier.len() == later.len() => {
                let both = earlier.iter().zip(later.iter());
                let both = both.map(|((key, at, one), (_, _, other))| {
                    (key.clone(), *at, one.clone().and(other.clone()))
                });
                Self::Pairs(both.collect())
            }
            (_, later) => later,
        }
    }

    /// The value as it is after coercion.
    pub(super) fn apply(&self, value: Value) -> Value {
        match (self, value) {
            (Self::Value(value), _) => Value::clone(value),
            (Self::Inside(changes), Value::Array(items)) => Value::Array(applied(changes, items)),
            (Self::Inside(changes), Value::Object(mut members)) => {
                let mut values = members.values_mut();
                let mut next = 0;
                for (position, change) in changes.iter() {
                    if let Some(value) = values.nth(position - next) {
                        *value = change.apply(value.take());
                    }
                    next = position + 1;
                }
                Value::Object(members)
            }
            (Self::Distinct(changes), Value::Array(items)) => {
                let mut items = applied(changes, items);
                let mut seen = HashSet::with_capacity(items.len());
                let repeated: Vec<bool> = items.iter().map(|item| !seen.insert(item)).collect();
                let mut repeated = repeated.into_iter();
                items.retain(|_| repeated.next() != Some(true));
                Value::Array(items)
            }
            (Self::Pairs(entries), value) => {
                // An empty text is an empty object, too.
                let mut pairs = if let Value::Array(pairs) = value { pairs } else { Vec::new() };
                let mut value_at = |at: usize| pairs.get_mut(at)?.get_mut(1).map(Value::take);
                let entries = entries
                    .iter()
                    .map(|(key, at, change)| (key.clone(), change.apply(value_at(*at).unwrap_or_default())));
                Value::Object(entries.collect())
            }
            (_, value) => value,
        }
    }
}

fn applied(changes: &[(usize, Patch)], mut items: Vec<Value>) -> Vec<Value> {
    for (position, change) in changes {
        if let Some(item) = items.get_mut(*position) {
            *item = change.apply(item.take());
        }
    }
    items
}

/// The changes of both; where they change the same, both of these.
fn merged(earlier: &[(usize, Patch)], later: &[(usize, Patch)]) -> Rc<[(usize, Patch)]> {
    let mut changes: BTreeMap<usize, Patch> = earlier.iter().cloned().collect();
    for (position, change) in later {
        let earlier = changes.remove(position).unwrap_or(Patch::Same);
        changes.insert(*position, earlier.and(change.clone()));
    }
    changes.into_iter().collect()
}
