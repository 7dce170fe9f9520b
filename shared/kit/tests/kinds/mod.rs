//! The reference's plugin with every kind of field (version 1.1.0), in Rust.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use bk_plugin_kit::JsonObject;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Inputs {
    #[schemars(extend("ui:component" = "input", "ui:props" = {"type": "number"}))]
    int_field: i64,
    str_field: String,
    bool_field: bool,
    float_field: f64,
    list_field: Vec<Value>,
    dict_field: JsonObject,
    // Pydantic requires no value where any will do; in Rust that is for the author to say.
    #[serde(default)]
    any_field: Value,
    #[serde(default)]
    list_str_field: Vec<String>,
    #[serde(default)]
    dict_int_field: BTreeMap<String, i64>,
    #[serde(default = "an_entry")]
    no_required_field: JsonObject,
    #[serde(default = "seven")]
    int_default: i64,
    #[serde(default = "dft")]
    str_default: String,
    #[serde(default)]
    none_default: Option<String>,
    #[serde(default = "yes")]
    #[schemars(title = "布尔 title", description = "字段详细说明")]
    bool_detail: bool,
    #[schemars(title = "overridden by form", extend("ui:reactions" = []))]
    /// required with description
    described: String,
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 10))]
    constrained: u32,
    #[serde(default = "abc")]
    #[schemars(length(min = 1, max = 5), regex(pattern = "^[a-z]+$"))]
    constrained_str: String,
    opt_str: Option<String>,
    opt_int: Option<i64>,
    #[serde(default)]
    union_field: Union,
    #[serde(default)]
    literal_field: Literal,
    #[serde(default)]
    enum_field: Color,
    #[serde(default)]
    int_enum: Level,
    #[schemars(extend("format" = "date-time"))]
    date_time: Option<String>,
    #[serde(default = "pair")]
    tuple_field: (i32, String),
    #[serde(default)]
    set_field: BTreeSet<i64>,
    options: Options,
    opt_options: Option<Options>,
    #[serde(default = "named_n")]
    #[schemars(description = "nested default")]
    options_default: Options,
    /// list of nested
    #[serde(default)]
    options_list: Vec<Options>,
    factory: Option<Vec<Value>>,
    #[serde(rename = "aliasName", default = "three")]
    aliased: i64,
    #[serde(default = "letter_e")]
    #[schemars(extend("example" = "an example", "custom" = "x-custom"))]
    extra_kw: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Options {
    name: String,
    #[serde(default = "letter_v")]
    value: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Union {
    Number(i64),
    Text(String),
}

impl Default for Union {
    fn default() -> Self {
        Self::Number(1)
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Literal {
    #[default]
    X,
    Y,
}

/// An enumeration.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Color {
    #[default]
    Red,
    Blue,
}

#[derive(Debug, Default, Clone, Copy)]
enum Level {
    #[default]
    Low = 1,
    High = 2,
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Ok(Self::Low),
            2 => Ok(Self::High),
            _ => Err(D::Error::custom("no such level")),
        }
    }
}

impl JsonSchema for Level {
    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "An enumeration.", "enum": [1, 2], "type": "integer"})
    }
}

#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
pub(crate) struct Outputs {
    #[schemars(title = "回显")]
    echo: JsonObject,
    #[schemars(default)]
    types: JsonObject,
}

#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
pub(crate) struct ContextInputs {
    #[schemars(title = "任务执行人")]
    executor: String,
    #[schemars(default, title = "业务", description = "cc biz id")]
    biz: i64,
}

fn an_entry() -> JsonObject {
    JsonObject::from_iter([("a".to_owned(), 1.into())])
}

fn named_n() -> Options {
    Options { name: "n".to_owned(), value: letter_v() }
}

fn pair() -> (i32, String) {
    (1, "a".to_owned())
}

fn yes() -> bool {
    true
}

fn three() -> i64 {
    3
}

fn five() -> u32 {
    5
}

fn seven() -> i64 {
    7
}

fn dft() -> String {
    "dft".to_owned()
}

fn abc() -> String {
    "abc".to_owned()
}

fn letter_e() -> String {
    "e".to_owned()
}

fn letter_v() -> String {
    "v".to_owned()
}
