//! The walk over the values: converts each to the type of its place, or notes the place.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use bk_plugin_core::JsonObject;
use serde_json::Value;

use super::{
    Problem, messages,
    plan::{Kind, Member, Node, Plan, Scalar},
    scalar,
};

impl Plan {
    /// Coerces `value` in place and tells what could not be. What could not be is left as it was.
    pub(super) fn coerce(&self, value: &mut Value) -> Vec<Problem> {
        let mut walk = Walk { definitions: &self.definitions, problems: Vec::new() };
        walk.node(&self.root, value, &Place::Root);
        walk.problems
    }
}

struct Walk<'p> {
    definitions: &'p HashMap<String, Node>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, value: &mut Value, place: &Place<'_>) {
        if value.is_null() && node.nullable {
            return;
        }
        match &node.kind {
            Kind::Any => {}
            Kind::Reference(name) => {
                if let Some(definition) = self.definitions.get(name) {
                    self.node(definition, value, place);
                }
            }
            Kind::All(parts) => parts.iter().for_each(|part| self.node(part, value, place)),
            Kind::Scalar(scalar) if value.is_null() && *scalar == Scalar::Null => {}
            _ if value.is_null() => self.refuse(place, messages::NULL),
            Kind::Scalar(scalar) => {
                if !scalar::coerce(*scalar, value) {
                    self.refuse(place, messages::expected(*scalar));
                }
            }
            Kind::Enum { permitted, scalar } => self.choice(permitted, *scalar, value, place),
            Kind::List(items) => {
                if let Some(values) = self.list(value, place, messages::LIST) {
                    self.items(items, values, place);
                }
            }
            Kind::Tuple(items) => self.tuple(items, value, place),
            Kind::Set(items) => self.set(items, value, place),
            Kind::Object { properties, additional } => {
                self.object(properties, additional.as_deref(), value, place);
            }
            Kind::Union(members) => self.union(members, value, place),
        }
    }

    fn refuse(&mut self, place: &Place<'_>, message: impl Into<String>) {
        self.problems.push(Problem { field: place.to_string(), message: message.into() });
    }

    fn choice(&mut self, permitted: &[Value], scalar: Option<Scalar>, value: &mut Value, place: &Place<'_>) {
        if permitted.contains(value) {
            return;
        }
        if let Some(scalar) = scalar
            && !value.is_array()
            && !value.is_object()
        {
            let mut attempt = value.clone();
            if scalar::coerce(scalar, &mut attempt) && permitted.contains(&attempt) {
                *value = attempt;
                return;
            }
        }
        self.refuse(place, messages::not_a_choice(permitted));
    }

    fn list<'v>(
        &mut self,
        value: &'v mut Value,
        place: &Place<'_>,
        expected: &str,
    ) -> Option<&'v mut Vec<Value>> {
        let Value::Array(values) = value else {
            self.refuse(place, expected);
            return None;
        };
        Some(values)
    }

    fn items(&mut self, items: &Node, values: &mut [Value], place: &Place<'_>) {
        if matches!(items.kind, Kind::Any) {
            return;
        }
        for (position, value) in values.iter_mut().enumerate() {
            self.node(items, value, &Place::Item(place, position));
        }
    }

    fn tuple(&mut self, items: &[Node], value: &mut Value, place: &Place<'_>) {
        let Some(values) = self.list(value, place, messages::TUPLE) else { return };
        if values.len() != items.len() {
            self.refuse(place, messages::tuple_length(values.len(), items.len()));
            return;
        }
        for (position, (item, value)) in items.iter().zip(values).enumerate() {
            self.node(item, value, &Place::Item(place, position));
        }
    }

    fn set(&mut self, items: &Node, value: &mut Value, place: &Place<'_>) {
        let Some(values) = self.list(value, place, messages::SET) else { return };
        self.items(items, values, place);
        // A set accepts a value twice. Only after coercion is it clear which values are the same.
        let mut seen = HashSet::with_capacity(values.len());
        let repeated: Vec<bool> = values.iter().map(|value| !seen.insert(value)).collect();
        if repeated.contains(&true) {
            let mut repeated = repeated.into_iter();
            values.retain(|_| repeated.next() != Some(true));
        }
    }

    fn object(
        &mut self,
        properties: &HashMap<String, Node>,
        additional: Option<&Node>,
        value: &mut Value,
        place: &Place<'_>,
    ) {
        if !value.is_object() {
            match object_of(value) {
                Some(object) => *value = Value::Object(object),
                None => return self.refuse(place, messages::OBJECT),
            }
        }
        let Value::Object(values) = value else { return };
        if properties.is_empty() && additional.is_none() {
            return;
        }
        for (name, value) in values {
            if let Some(node) = properties.get(name).or(additional) {
                self.node(node, value, &Place::Field(place, name));
            }
        }
    }

    /// Finds the member a value belongs to.
    ///
    /// A value that fits a member as it is belongs to it. Text does not count as fitting: forms send everything
    /// as text, so the members are tried in their order, and `"1"` for "integer or text" is the integer.
    fn union(&mut self, members: &[Member], value: &mut Value, place: &Place<'_>) {
        let fits = |member: &&Member| !value.is_string() && member.validator.is_valid(value);
        let fitting: Vec<&Member> = members.iter().filter(fits).collect();
        if let [only] = fitting.as_slice()
            && (value.is_array() || value.is_object())
        {
            // In place, as there is nothing else to try: a copy of a list or an object may be large.
            return self.node(&only.node, value, place);
        }
        let mut reasons = Vec::new();
        for member in fitting.into_iter().chain(members) {
            let mut attempt = value.clone();
            let mut walk = Walk { definitions: self.definitions, problems: Vec::new() };
            walk.node(&member.node, &mut attempt, place);
            if walk.problems.is_empty() && member.validator.is_valid(&attempt) {
                *value = attempt;
                return;
            }
            reasons.extend(walk.problems);
        }
        self.refuse(place, messages::no_member(&place.to_string(), &reasons));
    }
}

/// What Python's `dict()` makes of a value that is not an object: an empty text or list becomes an empty one, and each pair
/// of a list an entry.
fn object_of(value: &Value) -> Option<JsonObject> {
    match value {
        Value::String(text) if text.is_empty() => Some(JsonObject::new()),
        Value::Array(pairs) => pairs.iter().map(entry_of).collect(),
        _ => None,
    }
}

fn entry_of(pair: &Value) -> Option<(String, Value)> {
    let [key, value] = pair.as_array()?.as_slice() else { return None };
    let key = match key {
        Value::String(key) => key.clone(),
        Value::Number(key) => scalar::number_text(key),
        _ => return None,
    };
    Some((key, value.clone()))
}

/// The place of the walk. It lives on the stack, so that only a problem costs the text of a path.
enum Place<'a> {
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
