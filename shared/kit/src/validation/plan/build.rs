//! Makes the nodes of a schema.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::{ModelError, compile};
use super::{Additional, Kind, Node, NodeId, Object, Plan, Rules, Scalar, Union, endless};
use crate::JsonObject;
use crate::schema::{RawSchema, definition_name, is_null_type, is_number_format};

/// The keywords that are said of one value alone.
const RULES: [&str; 18] = [
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "format",
    "maxItems",
    "minItems",
    "maxProperties",
    "minProperties",
    "propertyNames",
    "contentEncoding",
    "contentMediaType",
    "enum",
    "const",
];

/// Rules that look at what is in a list or an object. No type has them unless its author writes them.
const RULES_THAT_LOOK_INSIDE: [&str; 6] = ["contains", "dependencies", "not", "if", "then", "else"];

impl Plan {
    pub(in super::super) fn of(source: &RawSchema) -> Result<Self, ModelError> {
        let mut builder =
            Builder { source, nodes: Vec::new(), definitions: HashMap::new(), has_unions: false };
        for name in source.definitions.keys() {
            let id = builder.add(Node::any());
            builder.definitions.insert(name, id);
        }
        for (name, schema) in &source.definitions {
            let node = builder.schema(schema)?;
            if let Some(NodeId(at)) = builder.definitions.get(name.as_str()).copied() {
                builder.nodes[at] = node;
            }
        }
        let root = builder.object_schema(&source.root)?;
        let root = builder.add(root);
        let mut plan = Self { nodes: builder.nodes, root, has_unions: builder.has_unions };
        plan.note_constants();
        match source.definitions.keys().zip(0..).find(|(_, at)| endless::is_endless(&plan, NodeId(*at))) {
            Some((name, _)) => Err(ModelError::Endless { definition: name.clone() }),
            None => Ok(plan),
        }
    }
}

impl Node {
    fn any() -> Self {
        Self { nullable: false, kind: Kind::Any, rules: Rules::default() }
    }

    fn of(kind: Kind) -> Self {
        Self { kind, ..Self::any() }
    }
}

struct Builder<'s> {
    source: &'s RawSchema,
    nodes: Vec<Node>,
    definitions: HashMap<&'s str, NodeId>,
    has_unions: bool,
}

impl Builder<'_> {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn child(&mut self, schema: &Value) -> Result<NodeId, ModelError> {
        let node = self.schema(schema)?;
        Ok(self.add(node))
    }

    fn schema(&mut self, schema: &Value) -> Result<Node, ModelError> {
        match schema {
            Value::Object(schema) => self.object_schema(schema),
            Value::Bool(false) => Ok(Node {
                rules: Rules { validator: Some(compile(schema)?), look_inside: false },
                ..Node::any()
            }),
            _ => Ok(Node::any()),
        }
    }

    fn object_schema(&mut self, schema: &JsonObject) -> Result<Node, ModelError> {
        // In draft 7, whatever stands beside a `$ref` has no meaning.
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let definition =
                definition_name(reference).and_then(|name| self.definitions.get(&*name).copied());
            let unknown = || ModelError::Schema { reason: format!("no definition is at {reference}") };
            return Ok(Node::of(Kind::Reference(definition.ok_or_else(unknown)?)));
        }
        let mut parts = Vec::new();
        let own = self.own_node(schema)?;
        if own.nullable || !matches!(own.kind, Kind::Any) || own.rules.validator.is_some() {
            parts.push(own);
        }
        for (keyword, exactly_one) in [("anyOf", false), ("oneOf", true)] {
            if let Some(Value::Array(members)) = schema.get(keyword) {
                parts.push(self.union(members, exactly_one)?);
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            parts.push(self.schema(part)?);
        }
        Ok(match parts.len() {
            0 => Node::any(),
            1 => parts.swap_remove(0),
            _ => Node::of(Kind::All(parts.into_iter().map(|part| self.add(part)).collect())),
        })
    }

    /// What a schema says itself, apart from its unions and the schemas it is made of.
    fn own_node(&mut self, schema: &JsonObject) -> Result<Node, ModelError> {
        if let Some(permitted) = permitted_values(schema) {
            let mut node = enum_node(permitted);
            node.rules = self.rules(schema, &["type"])?;
            return Ok(node);
        }
        let mut types: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let nullable = types.len() > 1 && types.contains(&"null");
        types.retain(|name| !nullable || *name != "null");
        let node = match types.as_slice() {
            [] => Node { rules: self.rules(schema, &[])?, ..Node::any() },
            [only] => self.typed(only, schema)?,
            several => {
                let members = several.iter().map(|name| {
                    let node = self.typed(name, schema)?;
                    Ok(self.add(node))
                });
                let members = members.collect::<Result<_, ModelError>>()?;
                self.has_unions = true;
                Node::of(Kind::Union(Union { members, exactly_one: false, by_constant: None }))
            }
        };
        Ok(Node { nullable, ..node })
    }

    fn typed(&mut self, type_name: &str, schema: &JsonObject) -> Result<Node, ModelError> {
        let kind = match type_name {
            "boolean" => Kind::Scalar(Scalar::Bool),
            "integer" => Kind::Scalar(Scalar::Integer),
            "number" => Kind::Scalar(Scalar::Number),
            "string" if schema.get("format") == Some(&json!("date-time")) => Kind::Scalar(Scalar::DateTime),
            "string" => Kind::Scalar(Scalar::Text),
            "null" => Kind::Scalar(Scalar::Null),
            "array" => self.list(schema)?,
            "object" => Kind::Object(self.object(schema)?),
            _ => Kind::Any,
        };
        let of_kind: &[&str] = match kind {
            Kind::List(_) | Kind::Any => &["uniqueItems"],
            Kind::Tuple(_) => &["uniqueItems", "additionalItems"],
            _ => &[],
        };
        let mut rules = self.rules(schema, of_kind)?;
        // A set's length is known when its items are coerced and none is there twice.
        rules.look_inside |= matches!(kind, Kind::Set(_)) && rules.validator.is_some();
        Ok(Node { nullable: false, kind, rules })
    }

    fn list(&mut self, schema: &JsonObject) -> Result<Kind, ModelError> {
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        if let Value::Array(items) = items {
            return Ok(Kind::Tuple(items.iter().map(|item| self.child(item)).collect::<Result<_, _>>()?));
        }
        let items = self.child(items)?;
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        Ok(if unique { Kind::Set(items) } else { Kind::List(items) })
    }

    fn object(&mut self, schema: &JsonObject) -> Result<Object, ModelError> {
        let members = |keyword| schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
        let properties = members("properties")
            .map(|(name, property)| Ok((name.clone(), self.child(property)?)))
            .collect::<Result<HashMap<_, _>, ModelError>>()?;
        let patterns = members("patternProperties")
            .map(|(pattern, property)| Ok((compile(&json!({ "pattern": pattern }))?, self.child(property)?)))
            .collect::<Result<_, ModelError>>()?;
        let additional = match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Additional::Free,
            Some(Value::Bool(false)) => Additional::Denied,
            Some(schema) => Additional::Node(self.child(schema)?),
        };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<String> = required.filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        let is_constant = |name: &&String| {
            let node = properties.get(*name).map(|NodeId(at)| &self.nodes[*at]);
            node.is_some_and(
                |node| matches!(&node.kind, Kind::Enum { permitted, .. } if permitted.len() == 1),
            )
        };
        let constants = required.iter().filter(is_constant).cloned().collect();
        Ok(Object { properties, required, aliases: Vec::new(), constants, patterns, additional })
    }

    fn union(&mut self, members: &[Value], exactly_one: bool) -> Result<Node, ModelError> {
        let nullable = members.iter().any(is_null_type);
        let members: Vec<&Value> = members.iter().filter(|member| !is_null_type(member)).collect();
        if let [only] = members.as_slice() {
            let only = self.schema(only)?;
            return Ok(Node { nullable: nullable || only.nullable, ..only });
        }
        let members = members.into_iter().map(|schema| self.child(schema)).collect::<Result<Vec<_>, _>>()?;
        let nullable = nullable || members.iter().any(|NodeId(at)| self.nodes[*at].nullable);
        self.has_unions = true;
        Ok(Node { nullable, ..Node::of(Kind::Union(Union { members, exactly_one, by_constant: None })) })
    }

    /// The rules of a schema. `of_kind` are keywords that only some kinds leave to the rules.
    fn rules(&self, schema: &JsonObject, of_kind: &[&str]) -> Result<Rules, ModelError> {
        let is_rule = |key: &str| RULES.contains(&key) || of_kind.contains(&key);
        let is_inner_rule = |key: &str| RULES_THAT_LOOK_INSIDE.contains(&key);
        let mut rules = JsonObject::new();
        let mut look_inside = false;
        for (key, value) in schema {
            let is_width = key == "format" && value.as_str().is_some_and(is_number_format);
            if (is_rule(key) || is_inner_rule(key)) && !is_width {
                rules.insert(key.clone(), value.clone());
                look_inside |= is_inner_rule(key);
            }
        }
        if rules.contains_key("additionalItems") {
            // It is about the items beyond these.
            let items = schema.get("items").and_then(Value::as_array).map_or(0, Vec::len);
            rules.insert("items".to_owned(), vec![true; items].into());
            look_inside = true;
        }
        if rules.is_empty() {
            return Ok(Rules::default());
        }
        let rules = Value::Object(rules);
        let references = self.source.references(&rules);
        if let Some(name) = references.iter().find(|name| self.source.is_recursive(name)) {
            let reason = format!(
                "`contains`, `dependencies`, `not`, `if`, `propertyNames` and `additionalItems` cannot refer to \
                 the recursive type `{name}`: the check could take exponential time"
            );
            return Err(ModelError::Schema { reason });
        }
        let document = if references.is_empty() { rules } else { self.source.document(rules) };
        Ok(Rules { validator: Some(compile(&document)?), look_inside })
    }
}

fn permitted_values(schema: &JsonObject) -> Option<Vec<Value>> {
    match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(values)), _) => Some(values.clone()),
        (_, Some(value)) => Some(vec![value.clone()]),
        _ => None,
    }
}

fn enum_node(mut permitted: Vec<Value>) -> Node {
    let nullable = permitted.contains(&Value::Null);
    permitted.retain(|value| !value.is_null());
    let scalar_of = |value: &Value| match value {
        Value::Bool(_) => Some(Scalar::Bool),
        Value::Number(number) if number.is_f64() => Some(Scalar::Number),
        Value::Number(_) => Some(Scalar::Integer),
        Value::String(_) => Some(Scalar::Text),
        _ => None,
    };
    let first = permitted.first().and_then(scalar_of);
    let scalar = first.filter(|_| permitted.iter().all(|value| scalar_of(value) == first));
    Node { nullable, ..Node::of(Kind::Enum { permitted, scalar }) }
}
