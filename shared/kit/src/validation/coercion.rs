//! Finds what to change in values so that they are of the types of their places.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::patch::Patch;
use super::plan::{Kind, Node, NodeId, Object, Scalar, Union};
use super::scalar;
use super::walk::Walk;
use super::work::size;

/// What changes inside of a value, by position.
type Changes = Vec<(usize, Patch)>;

impl Walk<'_> {
    /// What makes a value fit a node, if anything does.
    pub(super) fn coerce(&mut self, id: NodeId, value: &Value) -> Option<Patch> {
        if !self.work.spend(1) {
            return None;
        }
        let plan = self.plan;
        let node = &plan[id];
        if value.is_null() && node.nullable {
            return Some(Patch::Same);
        }
        let patch = self.coerce_to_kind(&node.kind, value)?;
        let permits = self.ruled(node, value, &patch).is_none_or(|value| node.rules.permit(&value));
        permits.then_some(patch)
    }

    /// What makes a value fit a node, whatever its rules are.
    pub(super) fn coerce_to_kind(&mut self, kind: &Kind, value: &Value) -> Option<Patch> {
        Some(match kind {
            Kind::Any => Patch::Same,
            Kind::Scalar(scalar) => patch_of(scalar::coerced(*scalar, value)?),
            Kind::Enum { permitted, scalar } => patch_of(choice(permitted, *scalar, value)?),
            Kind::Reference(definition) => {
                let met = (*definition, std::ptr::from_ref(value));
                if let Some(known) = self.coerced.get(&met) {
                    return known.clone();
                }
                let patch = self.coerce(*definition, value);
                self.coerced.insert(met, patch.clone());
                return patch;
            }
            Kind::All(parts) => self.coerce_to_all(parts, value)?,
            Kind::Union(union) => self.coerce_to_member(union, value)?,
            Kind::List(items) => {
                Patch::inside(self.coerce_items(value.as_array()?, std::iter::repeat(*items))?)
            }
            Kind::Set(items) => {
                let changes = self.coerce_items(value.as_array()?, std::iter::repeat(*items))?;
                Patch::Distinct(changes.into())
            }
            Kind::Tuple(items) => {
                let values = value.as_array().filter(|values| values.len() == items.len())?;
                Patch::inside(self.coerce_items(values, items.iter().copied())?)
            }
            Kind::Object(object) => self.coerce_object(object, value)?,
        })
    }

    /// The value that the rules of a node are asked about, or none if there are no rules.
    pub(super) fn ruled<'v>(
        &mut self,
        node: &Node,
        value: &'v Value,
        patch: &Patch,
    ) -> Option<Cow<'v, Value>> {
        node.rules.validator.as_ref()?;
        Some(match patch {
            Patch::Same => Cow::Borrowed(value),
            Patch::Inside(_) if !node.rules.look_inside => Cow::Borrowed(value),
            Patch::Value(value) => Cow::Owned(Value::clone(value)),
            patch => {
                self.work.spend(size(value));
                Cow::Owned(patch.apply(value.clone()))
            }
        })
    }

    fn coerce_to_all(&mut self, parts: &[NodeId], value: &Value) -> Option<Patch> {
        let mut patch = Patch::Same;
        if value.is_array() || value.is_object() {
            for part in parts {
                patch = patch.and(self.coerce(*part, value)?);
            }
            return Some(patch);
        }
        // A scalar is for each part what the parts before made of it.
        let mut scalar = self.keep(value.clone());
        for part in parts {
            let next = self.coerce(*part, &scalar)?;
            if !next.is_same() {
                scalar = self.keep(next.apply(Value::clone(&scalar)));
                patch = Patch::Value(scalar.clone());
            }
        }
        Some(patch)
    }

    fn coerce_items(&mut self, values: &[Value], nodes: impl Iterator<Item = NodeId>) -> Option<Changes> {
        let mut changes = Changes::new();
        let fits = self.inside(|walk| {
            values.iter().zip(nodes).enumerate().all(|(position, (value, node))| {
                let patch = walk.coerce(node, value);
                note(&mut changes, position, patch)
            })
        });
        fits.then_some(changes)
    }

    fn coerce_object(&mut self, object: &Object, value: &Value) -> Option<Patch> {
        if let Value::Object(values) = value {
            let entries = values.iter().map(|(name, value)| (name.as_str(), value));
            return self.coerce_properties(object, entries, |name| values.get(name)).map(Patch::inside);
        }
        let entries = entries_of(value)?;
        let values: HashMap<&str, &Value> = entries.iter().map(|entry| (&*entry.key, entry.value)).collect();
        let in_order = entries.iter().map(|entry| (&*entry.key, entry.value));
        let changes = self.coerce_properties(object, in_order, |name| values.get(name).copied())?;
        let mut changes: HashMap<usize, Patch> = changes.into_iter().collect();
        let pairs = entries.iter().enumerate().map(|(position, entry)| {
            (entry.key.to_string(), entry.pair, changes.remove(&position).unwrap_or(Patch::Same))
        });
        Some(Patch::Pairs(pairs.collect()))
    }

    fn coerce_properties<'v>(
        &mut self,
        object: &Object,
        entries: impl Iterator<Item = (&'v str, &'v Value)>,
        value_of: impl Fn(&str) -> Option<&'v Value>,
    ) -> Option<Changes> {
        let mut changes = Changes::new();
        let fits = self.inside(|walk| {
            // First what tells this object from others, so that nothing deeper is looked at for an object of another
            // type.
            object.required.iter().all(|name| object.has(name, |name| value_of(name).is_some()))
                && object.constants.iter().all(|name| {
                    let value = value_of(name).zip(object.properties.get(name));
                    value.is_some_and(|(value, node)| walk.coerce(*node, value).is_some())
                })
                && (object.is_free()
                    || entries.enumerate().all(|(position, (name, value))| {
                        let Some(nodes) = object.nodes_of(name) else { return false };
                        let mut patch = Some(Patch::Same);
                        for node in nodes {
                            patch = patch.zip(walk.coerce(node, value)).map(|(one, other)| one.and(other));
                        }
                        note(&mut changes, position, patch)
                    }))
        });
        fits.then_some(changes)
    }

    /// Finds the member a value belongs to.
    ///
    /// A value that fits a member as it is belongs to it. Text does not count as fitting: forms send everything
    /// as text, so the members are tried in their order, and `"1"` for "integer or text" is the integer.
    pub(super) fn coerce_to_member(&mut self, union: &Union, value: &Value) -> Option<Patch> {
        let members = self.members(union, value);
        if !value.is_string() && members.len() > 1 {
            let as_it_is = members.iter().find_map(|member| {
                if self.is_valid(*member, value) { self.coerce(*member, value) } else { None }
            });
            if as_it_is.is_some() {
                return as_it_is;
            }
        }
        members.iter().find_map(|member| self.coerce(*member, value))
    }
}

/// Notes the change of the value at a position; false if there is none that fits.
fn note(changes: &mut Changes, position: usize, patch: Option<Patch>) -> bool {
    let Some(patch) = patch else { return false };
    if !patch.is_same() {
        changes.push((position, patch));
    }
    true
}

fn patch_of(coerced: Cow<'_, Value>) -> Patch {
    match coerced {
        Cow::Borrowed(_) => Patch::Same,
        Cow::Owned(value) => Patch::Value(value.into()),
    }
}

/// The permitted value that a value is or stands for.
pub(super) fn choice<'v>(
    permitted: &[Value],
    scalar: Option<Scalar>,
    value: &'v Value,
) -> Option<Cow<'v, Value>> {
    if permitted.contains(value) {
        return Some(Cow::Borrowed(value));
    }
    scalar::coerced(scalar?, value).filter(|coerced| permitted.contains(coerced))
}

/// An entry of an object, or of a list of pairs that stands for one.
pub(super) struct Entry<'v> {
    pub(super) key: Cow<'v, str>,
    /// Its position, or that of its pair.
    pub(super) pair: usize,
    pub(super) value: &'v Value,
}

/// What Python's `dict()` takes for an object: an empty text or list is an empty one, and each pair of a list an entry.
pub(super) fn entries_of(value: &Value) -> Option<Vec<Entry<'_>>> {
    let pairs = match value {
        Value::String(text) if text.is_empty() => return Some(Vec::new()),
        Value::Array(pairs) => pairs,
        Value::Object(values) => {
            let entries = values.iter().enumerate();
            let entries = entries.map(|(pair, (key, value))| Entry { key: key.as_str().into(), pair, value });
            return Some(entries.collect());
        }
        _ => return None,
    };
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut at = HashMap::new();
    for (pair, parts) in pairs.iter().enumerate() {
        let [key, value] = parts.as_array()?.as_slice() else { return None };
        let key: Cow<'_, str> = match key {
            Value::String(key) => key.into(),
            Value::Number(key) => scalar::number_text(key).into(),
            _ => return None,
        };
        // A key that is there again has the later value, at its first place.
        let entry = Entry { key: key.clone(), pair, value };
        if let Some(first) = at.get(&key) {
            entries[*first] = entry;
        } else {
            at.insert(key, entries.len());
            entries.push(entry);
        }
    }
    Some(entries)
}
