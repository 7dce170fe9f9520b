use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

mod types;
mod work;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Everything {
    text: String,
    #[schemars(length(max = 3))]
    short: Option<String>,
    flag: Option<bool>,
    number: Option<f64>,
    #[schemars(range(min = 1, max = 10))]
    count: i64,
    byte: Option<u8>,
    wide: Option<u32>,
    #[schemars(extend("format" = "date-time"))]
    at: Option<String>,
    color: Option<Color>,
    texts: Option<Vec<String>>,
    set: Option<BTreeSet<i64>>,
    map: Option<BTreeMap<String, i64>>,
    by_number: Option<HashMap<u8, bool>>,
    pair: Option<(i64, String)>,
    anything: Option<Value>,
    either: Option<Either>,
    step: Option<Step>,
    tree: Option<Tree>,
    #[serde(default)]
    strict: Strict,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Color {
    /// Like blood.
    Red,
    /// Like the sky.
    Blue,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Flag(bool),
    Text(String),
    Several(Vec<i64>),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Step {
    Wait { seconds: u32 },
    Say { text: String },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Tree {
    name: String,
    #[serde(default)]
    children: Vec<Tree>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strict {
    a: Option<i64>,
}

fn model() -> Model {
    Model::of::<Everything>().unwrap()
}

/// Values with `text` and `count` as they should be and the rest as given.
fn values(rest: Value) -> JsonObject {
    let mut values = JsonObject::from_iter([("text".to_owned(), "t".into()), ("count".to_owned(), 1.into())]);
    if let Value::Object(rest) = rest {
        values.extend(rest);
    }
    values
}

/// What `check` makes of the fields given, or what it says.
fn checked(fields: Value) -> Result<Value, String> {
    let names: Vec<String> = fields.as_object().unwrap().keys().cloned().collect();
    let checked = model().check(values(fields)).map_err(|invalid| invalid.to_string())?;
    serde_json::from_value::<Everything>(checked.clone().into()).unwrap();
    Ok(checked.into_iter().filter(|(name, _)| names.contains(name)).collect::<JsonObject>().into())
}

#[track_caller]
fn assert_refused(fields: Value, message: &str) {
    assert_eq!(checked(fields).unwrap_err(), message);
}

#[test]
fn values_that_fit_are_given_back_as_they_are() {
    let fields = json!({
        "short": null, "flag": true, "number": 0.5, "byte": 255, "wide": 0, "at": "2024-01-02T03:04:05.123Z",
        "color": "blue", "texts": ["a"], "set": [2, 1], "map": {"a": 1}, "by_number": {"1": true},
        "pair": [1, "a"], "anything": {"deep": [null]}, "either": [1, 2], "step": {"do": "say", "text": "hi"},
        "tree": {"name": "a", "children": [{"name": "b"}]}, "strict": {}, "unknown": [1]
    });
    assert_eq!(checked(fields.clone()), Ok(fields));
}

#[test]
fn values_are_coerced_at_any_depth() {
    let fields = json!({
        "texts": [1, true], "set": ["1", 1, 2.0], "map": [["a", "1"]], "by_number": {"7": "on"}, "pair": ["1", 1],
        "tree": {"name": 1, "children": [{"name": 2}]}, "strict": {"a": "3"}, "number": 2
    });
    let expected = json!({
        "texts": ["1", "True"], "set": [1, 2], "map": {"a": 1}, "by_number": {"7": true}, "pair": [1, "1"],
        "tree": {"name": "1", "children": [{"name": "2"}]}, "strict": {"a": 3}, "number": 2.0
    });
    assert_eq!(checked(fields), Ok(expected));
}

#[test]
fn a_union_takes_the_first_member_that_fits() {
    for (given, taken) in [
        (json!("1"), json!(1)),
        (json!("on"), json!(true)),
        (json!("other"), json!("other")),
        (json!(true), json!(true)),
        (json!(1.5), json!("1.5")),
        (json!(["1"]), json!([1])),
        // To JSON Schema 1.0 is an integer already, to serde it is none.
        (json!([1.0]), json!([1])),
    ] {
        assert_eq!(checked(json!({ "either": given })), Ok(json!({ "either": taken })));
    }
    assert_refused(json!({"either": ["x"]}), "either: value is none of the permitted kinds");
    assert_eq!(
        checked(json!({"step": {"do": "wait", "seconds": "5"}})),
        Ok(json!({"step": {"do": "wait", "seconds": 5}}))
    );
}

#[test]
fn every_failing_field_is_named_in_order() {
    let invalid = model()
        .check(JsonObject::from_iter([
            ("strict".to_owned(), json!({"a": "x", "b": 1})),
            ("count".to_owned(), json!(11)),
            ("texts".to_owned(), json!(["a", null])),
            ("tree".to_owned(), json!({"children": [{"name": []}]})),
            ("map".to_owned(), json!({"a": 1.5})),
        ]))
        .unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "text: field required; \
         count: ensure this value is less than or equal to 10; \
         texts[1]: none is not an allowed value; \
         map.a: value is not a valid integer; \
         tree.children[0].name: str type expected; \
         tree.name: field required; \
         strict.a: value is not a valid integer; \
         strict.b: extra fields not permitted"
    );
}

#[test]
fn messages_say_what_is_expected() {
    assert_refused(json!({"text": null}), "text: none is not an allowed value");
    assert_refused(json!({"text": []}), "text: str type expected");
    assert_refused(json!({"short": "long"}), "short: ensure this value has at most 3 characters");
    assert_refused(json!({"flag": "maybe"}), "flag: value could not be parsed to a boolean");
    assert_refused(json!({"number": "x"}), "number: value is not a valid float");
    assert_refused(json!({"count": 1.5}), "count: value is not a valid integer");
    assert_refused(json!({"count": "0"}), "count: ensure this value is greater than or equal to 1");
    assert_refused(json!({"at": "tomorrow"}), "at: invalid datetime format");
    assert_refused(
        json!({"color": "green"}),
        "color: value is not a valid enumeration member; permitted: 'red', 'blue'",
    );
    assert_refused(json!({"texts": "a"}), "texts: value is not a valid list");
    assert_refused(json!({"map": "a"}), "map: value is not a valid dict");
    assert_refused(json!({"set": {}}), "set: value is not a valid set");
    assert_refused(json!({"pair": [1]}), "pair: wrong tuple length 1, expected 2");
    assert_refused(json!({"tree": {}}), "tree.name: field required");
    assert_refused(json!({"step": {"do": "jump"}}), "step: value is none of the permitted kinds");
}

#[test]
fn no_message_repeats_a_value() {
    for name in model().schema()["properties"].as_object().unwrap().keys() {
        for value in
            [json!("hunter2"), json!(["hunter2", "hunter2"]), json!({"name": {"hunter2": "hunter2"}})]
        {
            if let Err(invalid) = model().check(values(json!({ name: value }))) {
                let messages: Vec<_> = invalid.problems.iter().map(|problem| &problem.message).collect();
                assert!(!messages.iter().any(|message| message.contains("hunter2")), "{messages:?}");
            }
        }
    }
}

#[test]
fn integers_that_do_not_fit_their_width_are_refused() {
    assert_refused(json!({"byte": 256}), "byte: ensure this value is less than or equal to 255");
    assert_refused(json!({"wide": -1}), "wide: ensure this value is greater than or equal to 0");
    assert_refused(json!({"wide": 5e9}), "wide: ensure this value is less than or equal to 4294967295");
    assert_refused(json!({"count": "99999999999999999999"}), "count: value is not a valid integer");
}

#[test]
fn a_long_list_of_problems_is_cut_short() {
    let invalid = model().check(values(json!({"texts": vec![Value::Null; 60]}))).unwrap_err();
    assert_eq!(invalid.problems.len(), 60);
    assert!(invalid.to_string().ends_with("texts[49]: none is not an allowed value; and 10 more"));
}

#[test]
fn a_bad_pattern_is_the_authors_mistake() {
    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inputs {
        #[schemars(extend("pattern" = "("))]
        name: String,
    }

    assert!(matches!(Model::of::<Inputs>(), Err(ModelError::Schema { .. })));
    let not_an_object = SchemaError::NotAnObject { type_name: "string".to_owned() };
    assert_eq!(Model::of::<String>().unwrap_err(), ModelError::Shape(not_an_object));
}

#[test]
fn dates_in_other_forms_are_rewritten() {
    for (given, written) in [
        ("2024-1-2 3:04", "2024-01-02T03:04:00"),
        ("2024-01-02 03:04:05.5+0800", "2024-01-02T03:04:05.500000+08:00"),
        ("2024-01-02T03:04:05-08", "2024-01-02T03:04:05-08:00"),
        ("1700000000000", "2023-11-14T22:13:20+00:00"),
        ("-inf", "0001-01-01T00:00:00"),
    ] {
        assert_eq!(checked(json!({ "at": given })), Ok(json!({ "at": written })), "{given}");
    }
    for refused in
        ["2024-02-30T00:00:00", "2024-01-02T03:04:05+24:00", "2024-01-02T03:04:05 Z", "2024-01-02T25:00"]
    {
        assert_refused(json!({ "at": refused }), "at: invalid datetime format");
    }
}

#[test]
fn numbers_become_the_text_python_writes() {
    for (number, text) in [
        (json!(1e16), "1e+16"),
        (json!(123_456_789_012_345.0), "123456789012345.0"),
        (json!(0.0001), "0.0001"),
        (json!(0.000_012_5), "1.25e-05"),
        (json!(-0.0), "-0.0"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        assert_eq!(checked(json!({ "text": number })), Ok(json!({ "text": text })));
    }
}

/// Any JSON, with a liking for what coercion looks at.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-20i8..20).prop_map(Value::from),
        "[ +-]?[0-9_.]{0,12}(e[0-9]{1,3})?".prop_map(Value::from),
        "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[T ][0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2})?(Z|[+-][0-9]{2}:?[0-9]{0,2})?"
            .prop_map(Value::from),
        "(true|on|n|red|inf|nan|)".prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = "(a|name|children|do|text|seconds|[0-9]|.{0,3})";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key, inner.clone(), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            prop::collection::vec((key, inner).prop_map(|(key, value)| json!([key, value])), 0..3)
                .prop_map(Value::from),
        ]
    })
}

fn any_values() -> impl Strategy<Value = JsonObject> {
    let names: Vec<String> = model().schema()["properties"].as_object().unwrap().keys().cloned().collect();
    prop::collection::hash_map(prop::sample::select(names), any_json(), 0..4)
        .prop_map(|fields| values(Value::Object(fields.into_iter().collect())))
}

proptest! {
    #[test]
    fn what_was_checked_stays_as_it_is_and_deserializes(values in any_values()) {
        thread_local!(static MODEL: Model = model());
        MODEL.with(|model| {
            match model.check(values) {
                Ok(checked) => {
                    prop_assert_eq!(model.check(checked.clone()), Ok(checked.clone()));
                    let deserialized = serde_json::from_value::<Everything>(checked.into());
                    prop_assert!(deserialized.is_ok(), "{:?}", deserialized);
                }
                Err(invalid) => prop_assert!(!invalid.problems.is_empty()),
            }
            Ok(())
        })?;
    }
}
