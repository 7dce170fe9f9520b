//! What to coerce where: the few facts of a schema that coercion needs, read once.

use std::collections::HashMap;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{ModelError, compile};
use crate::{
    JsonObject,
    schema::{RawSchema, is_null_type, reference_name},
};

/// How the values of one type are coerced.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) root: Node,
    pub(super) definitions: HashMap<String, Node>,
}

/// How one value is coerced.
#[derive(Debug)]
pub(super) struct Node {
    /// Whether null is left as it is.
    pub(super) nullable: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Left to the validator: any value will do, or pydantic would not coerce it.
    Any,
    Scalar(Scalar),
    Enum {
        permitted: Vec<Value>,
        /// What the permitted values are, if they are all the same.
        scalar: Option<Scalar>,
    },
    List(Box<Node>),
    Tuple(Vec<Node>),
    Set(Box<Node>),
    Object {
        properties: HashMap<String, Node>,
        /// For keys that are no property.
        additional: Option<Box<Node>>,
    },
    /// A definition, by name.
    Reference(String),
    Union(Vec<Member>),
    /// All of these at once, such as a flattened enum beside other fields.
    All(Vec<Node>),
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

/// One of the types a union may be.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: Node,
    /// Which member a value belongs to depends on bounds and patterns too, not only on its type.
    pub(super) validator: Validator,
}

impl Plan {
    pub(super) fn of(source: &RawSchema) -> Result<Self, ModelError> {
        let definitions = source
            .definitions
            .iter()
            .map(|(name, schema)| Ok((name.clone(), node(schema, source)?)))
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { root: object_node(&source.root, source)?, definitions })
    }
}

fn node(schema: &Value, source: &RawSchema) -> Result<Node, ModelError> {
    if let Some(name) = reference_name(schema) {
        return Ok(Node { nullable: false, kind: Kind::Reference(name.to_owned()) });
    }
    match schema.as_object() {
        Some(schema) => object_node(schema, source),
        None => Ok(Node { nullable: false, kind: Kind::Any }),
    }
}

fn object_node(schema: &JsonObject, source: &RawSchema) -> Result<Node, ModelError> {
    if let Some(permitted) = permitted_values(schema) {
        return Ok(enum_node(permitted));
    }
    let mut parts = Vec::new();
    if let Some(own) = typed_node(schema, source)? {
        parts.push(own);
    }
    for members in ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)).filter_map(Value::as_array) {
        parts.push(union_node(members, source)?);
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        parts.push(node(part, source)?);
    }
    Ok(match parts.len() {
        0 => Node { nullable: false, kind: Kind::Any },
        1 => parts.swap_remove(0),
        _ => Node { nullable: false, kind: Kind::All(parts) },
    })
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
    Node { nullable, kind: Kind::Enum { permitted, scalar } }
}

/// What `type` says, or none if the schema has no type.
fn typed_node(schema: &JsonObject, source: &RawSchema) -> Result<Option<Node>, ModelError> {
    let mut types: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(None),
    };
    let nullable = types.len() > 1 && types.contains(&"null");
    types.retain(|name| !nullable || *name != "null");
    let kind = match types.as_slice() {
        [] => return Ok(None),
        [only] => kind(only, schema, source)?,
        several => {
            let members =
                several.iter().map(|name| member_of_type(name, schema, source)).collect::<Result<_, _>>();
            Kind::Union(members?)
        }
    };
    Ok(Some(Node { nullable, kind }))
}

fn kind(type_name: &str, schema: &JsonObject, source: &RawSchema) -> Result<Kind, ModelError> {
    Ok(match type_name {
        "boolean" => Kind::Scalar(Scalar::Bool),
        "integer" => Kind::Scalar(Scalar::Integer),
        "number" => Kind::Scalar(Scalar::Number),
        "string" if schema.get("format") == Some(&json!("date-time")) => Kind::Scalar(Scalar::DateTime),
        "string" => Kind::Scalar(Scalar::Text),
        "null" => Kind::Scalar(Scalar::Null),
        "array" => list(schema, source)?,
        "object" => object(schema, source)?,
        _ => Kind::Any,
    })
}

fn list(schema: &JsonObject, source: &RawSchema) -> Result<Kind, ModelError> {
    let items = schema.get("items").unwrap_or(&Value::Bool(true));
    if let Value::Array(items) = items {
        let items = items.iter().map(|item| node(item, source)).collect::<Result<_, _>>()?;
        return Ok(Kind::Tuple(items));
    }
    let items = Box::new(node(items, source)?);
    let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
    Ok(if unique { Kind::Set(items) } else { Kind::List(items) })
}

fn object(schema: &JsonObject, source: &RawSchema) -> Result<Kind, ModelError> {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties = properties
        .map(|(name, property)| Ok((name.clone(), node(property, source)?)))
        .collect::<Result<_, ModelError>>()?;
    // A map whose keys are not plain text has its values described by the pattern of its keys.
    let by_pattern = || schema.get("patternProperties")?.as_object()?.values().next();
    let additional = schema.get("additionalProperties").filter(|of| of.is_object()).or_else(by_pattern);
    let additional = additional.map(|of| node(of, source)).transpose()?.map(Box::new);
    Ok(Kind::Object { properties, additional })
}

fn union_node(members: &[Value], source: &RawSchema) -> Result<Node, ModelError> {
    let nullable = members.iter().any(is_null_type);
    let members: Vec<&Value> = members.iter().filter(|member| !is_null_type(member)).collect();
    if let [only] = members.as_slice() {
        let only = node(only, source)?;
        return Ok(Node { nullable: nullable || only.nullable, kind: only.kind });
    }
    let members = members.into_iter().map(|schema| member(schema, source)).collect::<Result<Vec<_>, _>>()?;
    let nullable = nullable || members.iter().any(|member| member.node.nullable);
    Ok(Node { nullable, kind: Kind::Union(members) })
}

fn member(schema: &Value, source: &RawSchema) -> Result<Member, ModelError> {
    // Inside `allOf`, since a bare `$ref` would hide the definitions beside it.
    let alone = JsonObject::from_iter([("allOf".to_owned(), json!([schema]))]);
    Ok(Member { node: node(schema, source)?, validator: compile(&source.document(&alone))? })
}

/// The part of a schema with several types that is about one of them.
fn member_of_type(type_name: &str, schema: &JsonObject, source: &RawSchema) -> Result<Member, ModelError> {
    let mut of_one_type = schema.clone();
    of_one_type.retain(|key, _| !matches!(key.as_str(), "anyOf" | "oneOf" | "allOf"));
    of_one_type.insert("type".to_owned(), type_name.into());
    member(&Value::Object(of_one_type), source)
}
