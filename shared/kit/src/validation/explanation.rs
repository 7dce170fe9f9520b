//! Says what is wrong with values that do not fit, place by place.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use jsonschema::ValidationError;
use serde_json::Value;

use super::coercion::{Entry, choice, entries_of};
use super::plan::{Kind, Node, NodeId, Object, Union};
use super::walk::{Met, Shape, Walk};
use super::{Problem, messages, scalar};

/// Problems that are collected of one check.
const PROBLEMS: usize = 1000;
/// Bytes of their texts. A place names keys of the values, and each of these may be as long as the whole body.
const BYTES: usize = 256 * 1024;

/// What is wrong with values.
#[derive(Default)]
pub(super) struct Explanation {
    /// Values that cannot be coerced.
    refused: Vec<Problem>,
    /// What is wrong besides.
    found: Vec<Problem>,
    said: HashSet<Problem>,
    bytes: usize,
    /// Whether there are more problems than were collected.
    pub(super) is_cut: bool,
    explained: HashSet<Met>,
}

impl Explanation {
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.refused;
        problems.extend(self.found);
        problems
    }

    fn refuse(&mut self, place: &Place<'_>, message: impl Into<String>) {
        if let Some(problem) = self.collect(place.to_string(), message.into()) {
            self.refused.push(problem);
        }
    }

    fn find(&mut self, field: String, message: impl Into<String>) {
        if let Some(problem) = self.collect(field, message.into()) {
            self.found.push(problem);
        }
    }

    fn find_all<'v>(&mut self, place: &Place<'_>, errors: impl Iterator<Item = ValidationError<'v>>) {
        for error in errors {
            if self.is_cut {
                return;
            }
            let field = place.to_string() + &messages::path(error.instance_path());
            self.find(field, messages::message(error.kind()));
        }
    }

    /// The problem, if it is new and there is room for it.
    fn collect(&mut self, field: String, message: String) -> Option<Problem> {
        let problem = Problem { field, message };
        if self.said.contains(&problem) {
            return None;
        }
        if self.said.len() >= PROBLEMS || self.bytes >= BYTES {
            self.is_cut = true;
            return None;
        }
        self.bytes += problem.field.len() + problem.message.len();
        self.said.insert(problem.clone());
        Some(problem)
    }
}

impl Walk<'_> {
    /// Collects what is wrong with a value at a node. Where a value fits, there is nothing.
    pub(super) fn explain(&mut self, id: NodeId, value: &Value, place: &Place<'_>, to: &mut Explanation) {
        let plan = self.plan;
        let node = &plan[id];
        if to.is_cut || !self.work.spend(1) || value.is_null() && node.nullable {
            return;
        }
        match (&node.kind, value) {
            (Kind::Any, _) => {}
            (Kind::Reference(definition), _) => {
                let is_first = to.explained.insert((*definition, std::ptr::from_ref(value)));
                if is_first {
                    self.explain(*definition, value, place, to);
                }
            }
            (Kind::All(parts), _) => self.explain_all(parts, value, place, to),
            (Kind::Union(union), _) => self.explain_union(union, value, place, to),
            (Kind::List(items) | Kind::Set(items), Value::Array(values)) => {
                self.explain_items(values, std::iter::repeat(*items), place, to);
            }
            (Kind::Tuple(items), Value::Array(values)) if values.len() == items.len() => {
                self.explain_items(values, items.iter().copied(), place, to);
            }
            (Kind::Object(object), value) if let Some(entries) = entries_of(value) => {
                self.explain_entries(object, &entries, place, to);
            }
            (kind, value) => {
                if let Some(message) = mismatch(kind, value) {
                    return to.refuse(place, message);
                }
            }
        }
        self.explain_rules(node, value, place, to);
    }

    fn explain_rules(&mut self, node: &Node, value: &Value, place: &Place<'_>, to: &mut Explanation) {
        let Some(validator) = &node.rules.validator else { return };
        if let Some(patch) = self.coerce_to_kind(&node.kind, value) {
            if let Some(value) = self.ruled(node, value, &patch) {
                to.find_all(place, validator.iter_errors(&value));
            }
        } else if !node.rules.look_inside {
            to.find_all(place, validator.iter_errors(value));
        }
    }

    fn explain_all(&mut self, parts: &[NodeId], value: &Value, place: &Place<'_>, to: &mut Explanation) {
        if value.is_array() || value.is_object() {
            return parts.iter().for_each(|part| self.explain(*part, value, place, to));
        }
        let mut scalar = self.keep(value.clone());
        for part in parts {
            self.explain(*part, &scalar, place, to);
            if let Some(patch) = self.coerce(*part, &scalar).filter(|patch| !patch.is_same()) {
                scalar = self.keep(patch.apply(Value::clone(&scalar)));
            }
        }
    }

    fn explain_items(
        &mut self,
        values: &[Value],
        nodes: impl Iterator<Item = NodeId>,
        place: &Place<'_>,
        to: &mut Explanation,
    ) {
        self.inside(|walk| {
            for (position, (value, node)) in values.iter().zip(nodes).enumerate() {
                walk.explain(node, value, &Place::Item(place, position), to);
            }
            true
        });
    }

    fn explain_entries(
        &mut self,
        object: &Object,
        entries: &[Entry<'_>],
        place: &Place<'_>,
        to: &mut Explanation,
    ) {
        self.inside(|walk| {
            for Entry { key, value, .. } in entries {
                let place = Place::Field(place, key);
                match object.nodes_of(key) {
                    Some(nodes) => nodes.for_each(|node| walk.explain(node, value, &place, to)),
                    None => to.find(place.to_string(), "extra fields not permitted"),
                }
            }
            true
        });
        let keys: HashSet<&str> = entries.iter().map(|entry| &*entry.key).collect();
        for name in object.required.iter().filter(|name| !object.has(name, |name| keys.contains(name))) {
            to.find(Place::Field(place, name).to_string(), "field required");
        }
    }

    fn explain_union(&mut self, union: &Union, value: &Value, place: &Place<'_>, to: &mut Explanation) {
        if self.coerce_to_member(union, value).is_some() {
            if union.exactly_one && self.members_that_fit(union, value) > 1 {
                to.find(place.to_string(), messages::NOT_PERMITTED);
            }
            return;
        }
        match self.members(union, value).as_slice() {
            [member] if self.shape(*member, value) == Shape::Meant => self.explain(*member, value, place, to),
            _ => {
                let message = self.no_member(union, value);
                to.refuse(place, message);
            }
        }
    }

    /// Why a value fits no member of a union: in one sentence, so what is wrong deeper inside is not said.
    fn no_member(&mut self, union: &Union, value: &Value) -> String {
        let mut reasons = Vec::new();
        let are_all = union.members.iter().all(|member| self.reasons(*member, value, &mut reasons));
        if are_all && !reasons.is_empty() { reasons.join(" or ") } else { messages::NO_MEMBER.to_owned() }
    }

    /// Collects why a value itself cannot be coerced; false if the reason is inside of it.
    fn reasons(&mut self, id: NodeId, value: &Value, to: &mut Vec<String>) -> bool {
        let plan = self.plan;
        let node = &plan[id];
        if !self.work.spend(1) || value.is_null() && node.nullable {
            return true;
        }
        let reason = match &node.kind {
            Kind::Reference(definition) => return self.reasons(*definition, value, to),
            Kind::All(parts) => return parts.iter().all(|part| self.reasons(*part, value, to)),
            Kind::Union(union) if self.coerce_to_member(union, value).is_none() => {
                Some(Cow::from(self.no_member(union, value)))
            }
            Kind::Union(_) => None,
            kind => mismatch(kind, value),
        };
        match reason {
            Some(reason) if to.iter().any(|said| **said == reason) => true,
            Some(reason) => {
                to.push(reason.into_owned());
                true
            }
            None => !value.is_array() && !value.is_object(),
        }
    }
}

/// What is wrong with the type of a value, whatever is in it.
fn mismatch(kind: &Kind, value: &Value) -> Option<Cow<'static, str>> {
    let message = match (kind, value) {
        (Kind::Any | Kind::Reference(_) | Kind::Union(_) | Kind::All(_), _)
        | (Kind::List(_) | Kind::Set(_), Value::Array(_)) => return None,
        (Kind::Scalar(wanted), value) if scalar::coerced(*wanted, value).is_some() => return None,
        (Kind::Enum { permitted, scalar }, value) if choice(permitted, *scalar, value).is_some() => {
            return None;
        }
        (_, Value::Null) => messages::NULL,
        (Kind::Scalar(wanted), _) => messages::expected(*wanted),
        (Kind::Enum { permitted, .. }, _) => return Some(messages::not_a_choice(permitted).into()),
        (Kind::List(_), _) => messages::LIST,
        (Kind::Set(_), _) => messages::SET,
        (Kind::Tuple(items), Value::Array(values)) if values.len() == items.len() => return None,
        (Kind::Tuple(items), Value::Array(values)) => {
            return Some(messages::tuple_length(values.len(), items.len()).into());
        }
        (Kind::Tuple(_), _) => messages::TUPLE,
        (Kind::Object(_), value) if entries_of(value).is_some() => return None,
        (Kind::Object(_), _) => messages::OBJECT,
    };
    Some(message.into())
}

/// The place of the walk. It lives on the stack, so that only a problem costs the text of a path.
pub(super) enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => formatter.write_str(name),
            Self::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Self::Item(parent, position) => write!(formatter, "{parent}[{position}]"),
        }
    }
}
