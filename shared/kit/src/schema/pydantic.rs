//! A source schema rewritten as pydantic v1 writes it.

use std::collections::HashSet;

use bk_plugin_core::JsonObject;
use serde_json::{Value, json};

use super::raw::{
    DEFINITIONS, RawSchema, definition_name, is_null_type, is_number_format, reference_name, width,
};

/// The order of keys in the reference. A key of the author's own stands where `None` is, after the
/// constraints; the form's attributes (`ui:component`, ...) come last.
const KEY_ORDER: [Option<&str>; 27] = [
    Some("title"),
    Some("description"),
    Some("default"),
    Some("exclusiveMinimum"),
    Some("minimum"),
    Some("exclusiveMaximum"),
    Some("maximum"),
    Some("multipleOf"),
    Some("maxLength"),
    Some("minLength"),
    Some("pattern"),
    Some("const"),
    Some("enum"),
    None,
    Some("type"),
    Some("format"),
    Some("minItems"),
    Some("maxItems"),
    Some("items"),
    Some("uniqueItems"),
    Some("properties"),
    Some("required"),
    Some("additionalProperties"),
    Some("anyOf"),
    Some("oneOf"),
    Some("allOf"),
    Some("$ref"),
];

/// The schema as `detail` shows it.
pub(crate) fn present(source: &RawSchema) -> JsonObject {
    let presenter = Presenter::new(source);
    let mut root = Value::Object(source.root.clone());
    presenter.rewrite(&mut root);

    let mut definitions = source.definitions.clone();
    for (name, definition) in &mut definitions {
        presenter.rewrite(definition);
        if let Value::Object(definition) = definition {
            definition.entry("title").or_insert_with(|| name.as_str().into());
            *definition = in_order(std::mem::take(definition));
        }
    }

    let mut shape = JsonObject::new();
    shape.insert("type".to_owned(), "object".into());
    for (key, empty) in [("properties", json!({})), ("required", json!([]))] {
        let value = root.get_mut(key).map_or(empty, Value::take);
        shape.insert(key.to_owned(), value);
    }
    shape.insert("definitions".to_owned(), Value::Object(definitions));
    shape
}

/// The title of a field that was given none: `int_field` becomes `Int Field`, `aliasName` `Aliasname`.
///
/// This is Python's `str.title`, which starts a word after anything that is not a letter.
pub fn title_of(field: &str) -> String {
    let mut title = String::with_capacity(field.len());
    let mut inside_word = false;
    for character in field.chars() {
        match (character, inside_word) {
            ('_', _) => title.push(' '),
            (letter, false) => title.extend(letter.to_uppercase()),
            (letter, true) => title.extend(letter.to_lowercase()),
        }
        inside_word = character.is_alphabetic();
    }
    title
}

struct Presenter<'s> {
    /// Definitions that are enums: pydantic derives no title for fields of these.
    enums: HashSet<&'s str>,
}

impl<'s> Presenter<'s> {
    fn new(source: &'s RawSchema) -> Self {
        let enums = source
            .definitions
            .iter()
            .filter(|(_, definition)| definition.get("enum").is_some())
            .map(|(name, _)| name.as_str())
            .collect();
        Self { enums }
    }

    /// Rewrites a schema and all below it, innermost first.
    fn rewrite(&self, schema: &mut Value) {
        let Value::Object(object) = schema else {
            // `true` allows anything, which pydantic says with an empty schema.
            if *schema == Value::Bool(true) {
                *schema = json!({});
            }
            return;
        };
        // Before the walk below turns it into `{}`.
        if object.get("additionalProperties") == Some(&Value::Bool(true)) {
            object.shift_remove("additionalProperties");
        }
        for (key, value) in object.iter_mut() {
            match key.as_str() {
                "items" | "anyOf" | "oneOf" | "allOf" if value.is_array() => {
                    value.as_array_mut().into_iter().flatten().for_each(|schema| self.rewrite(schema));
                }
                "properties" | "patternProperties" => {
                    let members = value.as_object_mut().into_iter().flatten();
                    members.for_each(|(_, schema)| self.rewrite(schema));
                }
                "items" | "not" | "if" | "then" | "else" | "contains" | "propertyNames" => {
                    self.rewrite(value);
                }
                "additionalProperties" if value.is_object() => self.rewrite(value),
                _ => {}
            }
        }
        drop_null(object);
        drop_rust_formats(object);
        tidy_reference(object);
        if object.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            object.shift_remove("required");
        }
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.iter_mut().for_each(|(name, property)| self.add_title(name, property));
        }
        *object = in_order(std::mem::take(object));
    }

    fn add_title(&self, name: &str, property: &mut Value) {
        let derived = !self.is_of_enum(property);
        if let Value::Object(property) = property {
            let bare_reference = property.len() == 1 && property.contains_key("$ref");
            if derived && !bare_reference && !property.contains_key("title") {
                property.shift_insert(0, "title".to_owned(), title_of(name).into());
            }
        }
    }

    /// Whether a field is of an enum's type or a collection of one.
    fn is_of_enum(&self, schema: &Value) -> bool {
        if let Some(name) = reference_name(schema) {
            return self.enums.contains(&*name);
        }
        if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.is_of_enum(only);
        }
        ["items", "additionalProperties"]
            .iter()
            .filter_map(|key| schema.get(key))
            .any(|inner| self.is_of_enum(inner))
    }
}

/// An optional field is the plain type in the reference: that it may be left out says enough.
fn drop_null(schema: &mut JsonObject) {
    if schema.get("default") == Some(&Value::Null) {
        schema.shift_remove("default");
    }
    let mut nullable = false;
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        nullable = types.contains(&json!("null"));
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
    if nullable && let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(members)) = schema.get_mut(key)
            && members.iter().any(is_null_type)
        {
            members.retain(|member| !is_null_type(member));
            if let [Value::Object(only)] = members.as_mut_slice() {
                let only = std::mem::take(only);
                schema.shift_remove(key);
                // What was said about the field itself counts for more than what its type says.
                for (key, value) in only {
                    schema.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// Drops what only says how Rust stores a number: its format, and the bounds of its width.
fn drop_rust_formats(schema: &mut JsonObject) {
    let Some(format) = schema.get("format").and_then(Value::as_str) else {
        return;
    };
    if !is_number_format(format) {
        return;
    }
    let bounds = width(format);
    schema.shift_remove("format");
    if let Some((least, greatest)) = bounds {
        for (key, bound) in [("minimum", least), ("maximum", greatest)] {
            if schema.get(key) == Some(&bound) {
                schema.shift_remove(key);
            }
        }
    }
}

/// A `$ref` stands alone if nothing else is said about the field, else inside `allOf`: draft 7 ignores
/// whatever stands beside a `$ref`.
///
/// A name in it is written as it is, as by the reference, and not percent-encoded.
fn tidy_reference(schema: &mut JsonObject) {
    if let Some(Value::String(reference)) = schema.get_mut("$ref")
        && let Some(name) = definition_name(reference)
    {
        *reference = format!("{DEFINITIONS}{name}");
    }
    if schema.len() > 1
        && let Some(reference) = schema.shift_remove("$ref")
    {
        schema.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    } else if schema.len() == 1
        && let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && let Some(reference) = only.get("$ref").cloned()
    {
        *schema = JsonObject::from_iter([("$ref".to_owned(), reference)]);
    }
}

fn in_order(schema: JsonObject) -> JsonObject {
    let rank = |key: &str| {
        if key.contains(':') {
            return KEY_ORDER.len();
        }
        let known = KEY_ORDER.iter().position(|name| *name == Some(key));
        known.or_else(|| KEY_ORDER.iter().position(Option::is_none)).unwrap_or(KEY_ORDER.len())
    };
    let mut entries: Vec<_> = schema.into_iter().collect();
    entries.sort_by_key(|(key, _)| rank(key));
    entries.into_iter().collect()
}
