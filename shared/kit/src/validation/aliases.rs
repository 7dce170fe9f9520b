//! Finds the other names that a type reads its fields by: `#[serde(alias = "...")]`.
//!
//! A schema does not have them. The type's `Deserialize` is asked instead: a struct says which names it knows, and what
//! it makes of a name is the same value for a field and its alias. Each question is a deserialization that leads along
//! one path to one struct, and ends there with an error.
//!
//! serde reads tagged and untagged enums and flattened fields from a copy, so no question gets there; and a struct
//! with a flattened field does not say which names it knows. Their aliases are not found.

mod probe;

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use self::probe::{Asked, Probe, Step};
use super::plan::{Additional, Kind, NodeId, Object, Plan};

/// Another name of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alias {
    /// The node of the struct.
    pub(super) object: NodeId,
    pub(super) name: String,
    pub(super) field: String,
}

/// All aliases in `T` and in the types of its fields.
pub(super) fn of<T: DeserializeOwned>(plan: &Plan) -> Vec<Alias> {
    let mut aliases = Vec::new();
    let mut seen = HashSet::new();
    let mut left = vec![(plan.root, Vec::new())];
    while let Some((node, path)) = left.pop() {
        let node = resolved(plan, node);
        if !seen.insert(node) {
            continue;
        }
        let mut next =
            |step: Step, node: NodeId| left.push((node, path.iter().cloned().chain([step]).collect()));
        match (&plan[node].kind, Probe::ask::<T>(&path, None)) {
            (Kind::Object(object), Some(Asked::Struct(names))) => {
                let means = |name: &str| match Probe::ask::<T>(&path, Some(name)) {
                    Some(Asked::Name(meaning)) => Some(meaning),
                    _ => None,
                };
                aliases.extend(aliases_among(names, object, means).map(|(name, field)| Alias {
                    object: node,
                    name,
                    field,
                }));
                object.properties.iter().for_each(|(name, id)| next(Step::Key(name.clone()), *id));
            }
            // A map, or a struct with a flattened field.
            (Kind::Object(object), Some(Asked::Map)) => {
                object.properties.iter().for_each(|(name, id)| next(Step::Key(name.clone()), *id));
                if let Additional::Node(id) = object.additional {
                    next(Step::Key("key".to_owned()), id);
                }
            }
            (Kind::List(id) | Kind::Set(id), Some(Asked::Seq)) => next(Step::First, *id),
            (Kind::Tuple(ids), Some(Asked::Seq)) => ids.iter().take(1).for_each(|id| next(Step::First, *id)),
            (Kind::Union(union), Some(Asked::Enum)) => {
                for member in &union.members {
                    if let Kind::Object(object) = &plan[resolved(plan, *member)].kind
                        && let Some(key) = object.only_key()
                        && let Some(id) = object.properties.get(key)
                    {
                        next(Step::Key(key.to_owned()), *id);
                    }
                }
            }
            _ => {}
        }
    }
    aliases
}

/// The names that mean the same as a field of the schema, with that field.
fn aliases_among(
    names: &[&'static str],
    object: &Object,
    means: impl Fn(&str) -> Option<String>,
) -> impl Iterator<Item = (String, String)> {
    let (fields, others): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| object.properties.contains_key(**name));
    others.into_iter().filter_map(move |alias| {
        let meaning = means(alias)?;
        let mut same = fields.iter().filter(|field| means(field).as_ref() == Some(&meaning));
        // With more than one, the names do not tell fields apart.
        let field = same.next().filter(|_| same.next().is_none())?;
        Some((alias.to_owned(), (*field).to_owned()))
    })
}

/// The node that says what a value is made of: behind references, and of several parts the struct.
fn resolved(plan: &Plan, id: NodeId) -> NodeId {
    match &plan[id].kind {
        Kind::Reference(definition) => resolved(plan, *definition),
        Kind::All(parts) => {
            let mut parts = parts.iter().map(|part| resolved(plan, *part));
            parts.find(|part| matches!(plan[*part].kind, Kind::Object(_))).unwrap_or(id)
        }
        _ => id,
    }
}
