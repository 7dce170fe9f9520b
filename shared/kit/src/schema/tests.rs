#![expect(dead_code, reason = "only the schemas of these types are looked at")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

#[derive(JsonSchema)]
enum Color {
    /// Like blood.
    Red,
    /// Like the sky.
    Blue,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Strict {
    a: Option<i64>,
}

#[derive(JsonSchema)]
struct Tree {
    name: String,
    children: Vec<Tree>,
}

fn shown<T: JsonSchema>() -> Value {
    of::<T>().unwrap().into()
}

#[test]
fn titles_are_those_of_python() {
    for (field, title) in [
        ("int_field", "Int Field"),
        ("aliasName", "Aliasname"),
        ("URL", "Url"),
        ("v1_x2y", "V1 X2Y"),
        ("_private__field", " Private  Field"),
        ("名称", "名称"),
    ] {
        assert_eq!(title_of(field), title);
    }
}

#[test]
fn an_optional_field_is_the_plain_type() {
    #[derive(JsonSchema)]
    #[schemars(inline)]
    enum Inline {
        X,
        Y,
    }

    #[derive(JsonSchema)]
    struct Inputs {
        inline: Option<Inline>,
        /// Its color.
        color: Option<Color>,
        lists: Option<Vec<Option<Color>>>,
        #[schemars(default)]
        any: Option<Value>,
    }

    assert_eq!(
        shown::<Inputs>(),
        json!({
            "type": "object",
            "properties": {
                "inline": {"title": "Inline", "enum": ["X", "Y"], "type": "string"},
                "color": {"description": "Its color.", "allOf": [{"$ref": "#/definitions/Color"}]},
                "lists": {"type": "array", "items": {"$ref": "#/definitions/Color"}},
                "any": {"title": "Any"}
            },
            "required": [],
            "definitions": {"Color": {"title": "Color", "enum": ["Red", "Blue"], "type": "string"}}
        })
    );
}

#[test]
fn numbers_show_only_the_bounds_their_author_gave() {
    #[derive(JsonSchema)]
    struct Inputs {
        byte: u8,
        wide: Option<u64>,
        signed: i16,
        #[schemars(range(min = 1))]
        bounded: u16,
        #[schemars(range(min = 0.5, max = 2))]
        float: f32,
    }

    let properties = shown::<Inputs>()["properties"].take();
    assert_eq!(
        properties,
        json!({
            "byte": {"title": "Byte", "type": "integer"},
            "wide": {"title": "Wide", "type": "integer"},
            "signed": {"title": "Signed", "type": "integer"},
            "bounded": {"title": "Bounded", "minimum": 1, "type": "integer"},
            "float": {"title": "Float", "minimum": 0.5, "maximum": 2, "type": "number"}
        })
    );
}

#[test]
fn definitions_keep_what_the_reference_keeps() {
    #[derive(JsonSchema)]
    struct Inputs {
        strict: Strict,
        by_name: BTreeMap<String, Strict>,
        by_number: BTreeMap<u8, Value>,
    }

    let shown = shown::<Inputs>();
    assert_eq!(
        shown["definitions"],
        json!({
            "Strict": {
                "title": "Strict",
                "type": "object",
                "properties": {"a": {"title": "A", "type": "integer"}},
                "additionalProperties": false
            }
        })
    );
    assert_eq!(
        shown["properties"]["by_name"],
        json!({
            "title": "By Name", "type": "object", "additionalProperties": {"$ref": "#/definitions/Strict"}
        })
    );
    assert_eq!(shown["properties"]["by_number"]["type"], "object");
}

#[test]
fn a_recursive_type_is_a_definition_of_itself() {
    let children = json!({"title": "Children", "type": "array", "items": {"$ref": "#/definitions/Tree"}});
    let shown = shown::<Tree>();
    assert_eq!(shown["properties"]["children"], children);
    assert_eq!(shown["definitions"]["Tree"]["properties"]["children"], children);
}

#[test]
fn only_objects_have_fields() {
    for error in [of::<String>(), of::<Color>(), of::<Option<Strict>>(), of::<Value>()] {
        assert!(matches!(error, Err(SchemaError::NotAnObject { .. })));
    }
    assert_eq!(
        shown::<JsonObject>(),
        json!({"type": "object", "properties": {}, "required": [], "definitions": {}})
    );
}
