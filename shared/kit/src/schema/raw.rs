//! The schema of a Rust type as `schemars` makes it, in draft 7, a few of its habits evened out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bk_plugin_core::JsonObject;
use percent_encoding::percent_decode_str;
use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

use super::SchemaError;

/// What every reference to a definition begins with.
pub(super) const DEFINITIONS: &str = "#/definitions/";

/// The schema of a type and of the types it refers to, `null` unions and integer widths included.
#[derive(Debug, Clone)]
pub(crate) struct RawSchema {
    /// The schema of the type itself, without its definitions.
    pub(crate) root: JsonObject,
    /// The types that `#/definitions/<name>` refers to, in the order they are first used.
    pub(crate) definitions: JsonObject,
}

impl RawSchema {
    /// `schema` with the definitions it may refer to, fit to be compiled on its own.
    pub(crate) fn document(&self, schema: Value) -> Value {
        let mut document = schema;
        if let Value::Object(document) = &mut document {
            document.insert("definitions".to_owned(), Value::Object(self.definitions.clone()));
        }
        document
    }

    /// The definitions that a schema refers to, directly or through others.
    pub(crate) fn references(&self, schema: &Value) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut left = vec![schema];
        while let Some(schema) = left.pop() {
            match schema {
                Value::Object(object) => left.extend(object.values()),
                Value::Array(items) => left.extend(items),
                _ => {}
            }
            if let Some(name) = reference_name(schema)
                && found.insert(name.to_string())
            {
                left.extend(self.definitions.get(&*name));
            }
        }
        found
    }

    /// Whether a definition refers to itself, directly or through others.
    pub(crate) fn is_recursive(&self, name: &str) -> bool {
        self.definitions.get(name).is_some_and(|definition| self.references(definition).contains(name))
    }
}

/// Generates the schema of `T`.
pub(crate) fn raw_schema<T: JsonSchema>() -> Result<RawSchema, SchemaError> {
    let mut generator = SchemaSettings::draft07()
        .with_transform(MergeEnumVariants)
        .with_transform(BoundIntegers)
        .into_generator();
    // As a subschema the type is a definition of its own, so that a recursive type refers to it by name as
    // pydantic does, rather than to the document's root.
    let mut schema = generator.subschema_for::<T>();
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    let mut definitions = generator.take_definitions(true);

    let mut root = schema.to_value();
    if let Some(name) = reference_name(&root).map(Cow::into_owned) {
        let definition = definitions.get(&name).cloned().unwrap_or_default();
        if !definitions.values().any(|schema| refers_to(schema, &name)) {
            // `remove` would move the last definition into the gap.
            definitions.shift_remove(&name);
        }
        root = definition;
    }
    match root {
        Value::Object(root) if root.get("type") == Some(&json!("object")) => {
            Ok(RawSchema { root, definitions })
        }
        _ => Err(SchemaError::NotAnObject { type_name: T::schema_name().into_owned() }),
    }
}

/// The definition that a schema's `$ref` names.
pub(crate) fn reference_name(schema: &Value) -> Option<Cow<'_, str>> {
    definition_name(schema.get("$ref")?.as_str()?)
}

/// The definition that a reference names. A reference is a URI: in it a name such as `输入` is percent-encoded.
pub(crate) fn definition_name(reference: &str) -> Option<Cow<'_, str>> {
    let name = percent_decode_str(reference.strip_prefix(DEFINITIONS)?).decode_utf8().ok()?;
    Some(if name.contains('~') { name.replace("~1", "/").replace("~0", "~").into() } else { name })
}

/// Whether a schema is `{"type": "null"}`, the second half of an optional `$ref`.
pub(crate) fn is_null_type(schema: &Value) -> bool {
    schema.get("type") == Some(&json!("null"))
}

fn refers_to(schema: &Value, name: &str) -> bool {
    match schema {
        Value::Object(object) => {
            reference_name(schema).as_deref() == Some(name)
                || object.values().any(|value| refers_to(value, name))
        }
        Value::Array(items) => items.iter().any(|item| refers_to(item, name)),
        _ => false,
    }
}

/// Makes one `enum` of a C-like enum whose variants have doc comments, which `schemars` describes one by one.
#[derive(Debug, Clone)]
struct MergeEnumVariants;

impl Transform for MergeEnumVariants {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(values) = schema.get("oneOf").and_then(Value::as_array).and_then(|of| variant_values(of))
        {
            schema.remove("oneOf");
            if let Some(name) = common_type(&values) {
                schema.insert("type".to_owned(), name.into());
            }
            schema.insert("enum".to_owned(), Value::Array(values));
        }
        transform_subschemas(self, schema);
    }
}

/// The values of variants that are nothing but values, or none if one of them is more than that.
fn variant_values(variants: &[Value]) -> Option<Vec<Value>> {
    const ALLOWED: [&str; 6] = ["const", "enum", "type", "title", "description", "deprecated"];
    let mut values = Vec::new();
    for variant in variants {
        let variant = variant.as_object()?;
        if !variant.keys().all(|key| ALLOWED.contains(&key.as_str())) {
            return None;
        }
        match (variant.get("const"), variant.get("enum")) {
            (Some(value), None) => values.push(value.clone()),
            (None, Some(Value::Array(several))) => values.extend(several.iter().cloned()),
            _ => return None,
        }
    }
    Some(values)
}

fn common_type(values: &[Value]) -> Option<&'static str> {
    if values.iter().all(Value::is_string) {
        Some("string")
    } else if values.iter().all(|value| value.is_i64() || value.is_u64()) {
        Some("integer")
    } else {
        None
    }
}

/// Writes down the width of those integers for which `schemars` leaves it out, so that a number which does
/// not fit is refused with the name of its field, instead of by serde later.
#[derive(Debug, Clone)]
struct BoundIntegers;

impl Transform for BoundIntegers {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some((least, greatest)) = schema.get("format").and_then(Value::as_str).and_then(width)
            && let Some(schema) = schema.as_object_mut()
        {
            schema.entry("minimum").or_insert(least);
            schema.entry("maximum").or_insert(greatest);
        }
        transform_subschemas(self, schema);
    }
}

/// Whether a format says how Rust stores a number, and nothing about its value.
pub(crate) fn is_number_format(format: &str) -> bool {
    matches!(format, "double" | "float") || width(format).is_some()
}

/// The least and the greatest value of an integer format.
pub(super) fn width(format: &str) -> Option<(Value, Value)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        // Wider types are cut to what a JSON number holds here.
        "int" | "int64" | "int128" => (i64::MIN.into(), i64::MAX.into()),
        "uint8" => (0.into(), u8::MAX.into()),
        "uint16" => (0.into(), u16::MAX.into()),
        "uint32" => (0.into(), u32::MAX.into()),
        "uint" | "uint64" | "uint128" => (0.into(), u64::MAX.into()),
        _ => return None,
    })
}
