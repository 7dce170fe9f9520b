//! A schema read once, into nodes that values are walked with.
//!
//! The walk looks at each node and each value once, so its work is bounded by the size of the values times the size
//! of the schema. `jsonschema` gives no such bound: it tries every member of a union with everything that is in the
//! value, which is exponential in the depth of a recursive type. So what leads from one value to another (properties,
//! items, unions, references) is a node here, and `jsonschema` checks only what is said of one value alone: [`Rules`].

mod build;
mod constants;
mod endless;

use std::collections::HashMap;
use std::ops::Index;

use jsonschema::Validator;
use serde_json::Value;

use self::constants::ByConstant;
use super::aliases::Alias;

/// The nodes of one schema.
#[derive(Debug)]
pub(super) struct Plan {
    nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// Whether serde reads some of the values more than once: to find the member of a union.
    pub(super) has_unions: bool,
}

/// Which node of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

impl Index<NodeId> for Plan {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

impl Plan {
    /// Adds another name of a property.
    pub(super) fn add_alias(&mut self, Alias { object: NodeId(at), name, field }: Alias) {
        if let Kind::Object(object) = &mut self.nodes[at].kind
            && let Some(node) = object.properties.get(&field).copied()
        {
            object.properties.insert(name.clone(), node);
            object.aliases.push((name, field));
        }
    }

    /// How many nodes there are: the size of the schema.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.nodes.len()
    }
}

/// What is asked of one value.
#[derive(Debug)]
pub(super) struct Node {
    /// Whether null is left as it is.
    pub(super) nullable: bool,
    pub(super) kind: Kind,
    pub(super) rules: Rules,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Any value, or one that pydantic would not coerce.
    Any,
    Scalar(Scalar),
    Enum {
        permitted: Vec<Value>,
        /// What the permitted values are, if they are all the same.
        scalar: Option<Scalar>,
    },
    List(NodeId),
    Tuple(Vec<NodeId>),
    Set(NodeId),
    Object(Object),
    /// A definition. Every circle of nodes leads through one of these.
    Reference(NodeId),
    Union(Union),
    /// All of these at once, such as a flattened enum beside other fields.
    All(Vec<NodeId>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Integer,
    Number,
    Text,
    DateTime,
    Null,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) properties: HashMap<String, NodeId>,
    pub(super) required: Vec<String>,
    /// Other names of properties.
    pub(super) aliases: Vec<(String, String)>,
    /// The required properties that have one permitted value, such as the tag of an enum.
    pub(super) constants: Vec<String>,
    /// For keys that match a pattern.
    pub(super) patterns: Vec<(Validator, NodeId)>,
    /// For keys that are no property and match no pattern.
    pub(super) additional: Additional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Additional {
    Free,
    Denied,
    Node(NodeId),
}

impl Object {
    /// The nodes of a property's value, or none if there must be no such property.
    pub(super) fn nodes_of(&self, name: &str) -> Option<impl Iterator<Item = NodeId>> {
        let property = self.properties.get(name).copied();
        let key = if self.patterns.is_empty() { Value::Null } else { name.into() };
        let matching =
            self.patterns.iter().filter(|(pattern, _)| pattern.is_valid(&key)).map(|(_, node)| *node);
        let matching: Vec<NodeId> = matching.collect();
        let other = match self.additional {
            _ if property.is_some() || !matching.is_empty() => None,
            Additional::Denied => return None,
            Additional::Node(node) => Some(node),
            Additional::Free => None,
        };
        Some(property.into_iter().chain(matching).chain(other))
    }

    /// Whether a property is there, under its own name or another.
    pub(super) fn has(&self, property: &str, is_there: impl Fn(&str) -> bool) -> bool {
        let mut aliases = self.aliases.iter().filter(|(_, of)| of == property);
        is_there(property) || aliases.any(|(alias, _)| is_there(alias))
    }

    /// Whether nothing is said about the values of properties.
    pub(super) fn is_free(&self) -> bool {
        self.properties.is_empty() && self.patterns.is_empty() && self.additional == Additional::Free
    }

    /// The only key of an object that has exactly one, such as a variant of an enum that is not tagged otherwise.
    pub(super) fn only_key(&self) -> Option<&str> {
        match self.required.as_slice() {
            [only] if self.properties.len() == 1 && self.additional == Additional::Denied => Some(only),
            _ => None,
        }
    }
}

/// The types that a value may be.
#[derive(Debug)]
pub(super) struct Union {
    pub(super) members: Vec<NodeId>,
    /// Whether a value that fits two members is refused, as with `oneOf`. serde chooses a member by its constants
    /// then; without, it tries one after the other.
    pub(super) exactly_one: bool,
    by_constant: Option<ByConstant>,
}

/// What a schema says of one value, whatever is in it: bounds, a pattern, permitted values.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) validator: Option<Validator>,
    /// Whether the rules look into a list or an object, so that they need it as coercion leaves it.
    pub(super) look_inside: bool,
}

impl Rules {
    pub(super) fn permit(&self, value: &Value) -> bool {
        self.validator.as_ref().is_none_or(|validator| validator.is_valid(value))
    }
}
