//! Every kind of field.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bk_plugin_kit::prelude::*;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserializer, Serializer};
use serde_json::json;

use crate::outputs::Loose;

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Inputs {
    #[schemars(extend("ui:component" = "input", "ui:props" = {"type": "number"}))]
    int_field: i64,
    str_field: String,
    bool_field: bool,
    float_field: f64,
    list_field: Vec<Value>,
    dict_field: JsonObject,
    // Pydantic requires no value for a field of type Any; in Rust the author must say so.
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
    #[serde(rename(deserialize = "aliasName"), default = "three")]
    aliased: i64,
    #[serde(default = "letter_e")]
    #[schemars(extend("example" = "an example", "custom" = "x-custom"))]
    extra_kw: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Options {
    name: String,
    #[serde(default = "letter_v")]
    value: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Union {
    Number(i64),
    Text(String),
}

impl Default for Union {
    fn default() -> Self {
        Self::Number(1)
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Literal {
    #[default]
    X,
    Y,
}

/// An enumeration.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    #[default]
    Red,
    Blue,
}

#[derive(Default, Clone, Copy)]
pub enum Level {
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

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
pub struct Outputs {
    #[schemars(title = "回显")]
    echo: JsonObject,
    #[schemars(default)]
    types: JsonObject,
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ContextInputs {
    #[schemars(title = "任务执行人")]
    executor: String,
    #[serde(default)]
    #[schemars(title = "业务", description = "cc biz id")]
    biz: i64,
}

pub struct FieldKinds;

impl Plugin for FieldKinds {
    const META: Meta = Meta::version("1.1.0").desc("all field kinds 全部字段类型").form(crate::FORM);
    type Inputs = Inputs;
    type Context = Context<Loose<Outputs>, (), ContextInputs>;

    async fn execute(&self, mut inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        // The default comes from a factory, so the schema does not show it.
        inputs.factory.get_or_insert_default();
        let types = types(&inputs);
        cx.outputs.set(Loose::new(json!({"echo": inputs, "types": types, "ctx": cx.data})));
        Ok(Next::done())
    }
}

/// The values' types, by their names in Python.
fn types(inputs: &Inputs) -> Value {
    fn option<T>(value: Option<&T>, name: &'static str) -> &'static str {
        value.map_or("NoneType", |_| name)
    }
    let any = match &inputs.any_field {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    let union = match &inputs.union_field {
        Union::Number(_) => "int",
        Union::Text(_) => "str",
    };
    json!({
        "int_field": "int",
        "str_field": "str",
        "bool_field": "bool",
        "float_field": "float",
        "list_field": "list",
        "dict_field": "dict",
        "any_field": any,
        "list_str_field": "list",
        "dict_int_field": "dict",
        "no_required_field": "dict",
        "int_default": "int",
        "str_default": "str",
        "none_default": option(inputs.none_default.as_ref(), "str"),
        "bool_detail": "bool",
        "described": "str",
        "constrained": "int",
        "constrained_str": "str",
        "opt_str": option(inputs.opt_str.as_ref(), "str"),
        "opt_int": option(inputs.opt_int.as_ref(), "int"),
        "union_field": union,
        "literal_field": "str",
        "enum_field": "Color",
        "int_enum": "Level",
        "date_time": option(inputs.date_time.as_ref(), "datetime"),
        "tuple_field": "tuple",
        "set_field": "set",
        "options": "Options",
        "opt_options": option(inputs.opt_options.as_ref(), "Options"),
        "options_default": "Options",
        "options_list": "list",
        "factory": "list",
        "aliased": "int",
        "extra_kw": "str",
    })
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
