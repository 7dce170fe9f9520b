//! The work of a check, counted in looks.

use std::cell::Cell;

use jsonschema::Draft;

use super::*;
use crate::schema::RawSchema;
use crate::validation::work::size;

/// Looks that a check costs for each value and each node of the schema, at most.
const LOOKS: u64 = 6;

/// `#[serde(tag)]`, `#[serde(tag, content)]`, no attribute, `#[serde(untagged)]`, and all of them in one another.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "read only")]
struct Rules {
    internal: Option<Internal>,
    adjacent: Option<Adjacent>,
    external: Option<External>,
    untagged: Option<Untagged>,
    mixed: Option<Mixed>,
    flattened: Option<Flattened>,
    set: Option<BTreeSet<Ordered>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "op")]
#[expect(dead_code, reason = "read only")]
enum Internal {
    And { items: Vec<Internal> },
    Or { items: Vec<Internal> },
    Not { items: [Box<Internal>; 1] },
    Is { value: i64 },
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "op", content = "of")]
#[expect(dead_code, reason = "read only")]
enum Adjacent {
    And(Vec<Adjacent>),
    Or(Vec<Adjacent>),
    Is(i64),
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "read only")]
enum External {
    And(Vec<External>),
    Or { items: Vec<External> },
    Is(i64),
    Always,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read only")]
enum Untagged {
    And { items: Vec<Untagged>, and: i64 },
    Or { items: Vec<Untagged>, or: i64 },
    Is(i64),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read only")]
enum Mixed {
    Tagged(Box<Middle>),
    Both { mixed: Box<Mixed>, external: External },
    Same { mixed: Box<Mixed>, adjacent: Adjacent },
    Value(i64),
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "op")]
#[expect(dead_code, reason = "read only")]
enum Middle {
    Mixed { mixed: Mixed },
    Other { mixed: Mixed, other: Option<Mixed> },
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "read only")]
struct Flattened {
    name: Option<String>,
    #[serde(flatten)]
    kind: Kinds,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind")]
#[expect(dead_code, reason = "read only")]
enum Kinds {
    One { items: Vec<Flattened> },
    Two { items: Vec<Flattened> },
}

#[derive(Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(untagged)]
enum Ordered {
    Set(BTreeSet<Ordered>),
    Value(i64),
}

/// A value of each kind of union: `levels` of them around `leaf`.
fn nested(levels: usize, leaf: &Value) -> Vec<(&'static str, Value)> {
    let around = |wrap: &dyn Fn(Value) -> Value, leaf: Value| (0..levels).fold(leaf, |inner, _| wrap(inner));
    vec![
        ("internal", around(&|of| json!({"items": [of], "op": "Or"}), json!({"op": "Is", "value": leaf}))),
        ("internal", around(&|of| json!({"op": "Not", "items": [of]}), json!({"value": leaf, "op": "Is"}))),
        ("adjacent", around(&|of| json!({"of": [of], "op": "Or"}), json!({"op": "Is", "of": leaf}))),
        ("external", around(&|of| json!({"Or": {"items": [of]}}), json!({ "Is": leaf }))),
        ("external", around(&|of| json!({"And": [of]}), json!({ "Is": leaf }))),
        ("untagged", around(&|of| json!({"items": [of], "or": 1}), leaf.clone())),
        ("mixed", around(&|of| json!({"op": "Other", "mixed": {"op": "Mixed", "mixed": of}}), leaf.clone())),
        ("mixed", around(&|of| json!({"adjacent": {"op": "Is", "of": 1}, "mixed": of}), leaf.clone())),
        ("flattened", around(&|of| json!({"name": 1, "items": [of], "kind": "Two"}), json!({"kind": leaf}))),
        ("set", around(&|of| json!([of]), json!([leaf]))),
        // An object as a list of pairs.
        (
            "internal",
            around(&|of| json!([["items", [of]], ["op", "And"]]), json!([["op", "Is"], ["value", leaf]])),
        ),
    ]
}

/// The looks of a check, apart from what serde will need, and whether the values fit once they are coerced.
fn looks(plan: &Plan, values: &Value) -> (u64, bool) {
    let mut work = Work::on(values);
    let patch = Walk::new(plan, &mut work).coerce(plan.root, values);
    let coerced = patch.map_or_else(|| values.clone(), |patch| patch.apply(values.clone()));
    let mut walk = Walk::new(plan, &mut work);
    let fits = walk.is_valid(plan.root, &coerced);
    walk.explain(plan.root, &coerced, &Place::Root, &mut Explanation::default());
    (work.spent(), fits)
}

fn most(plan: &Plan, values: &Value) -> u64 {
    LOOKS * size(values) * plan.size() as u64
}

#[test]
fn work_grows_with_the_values_and_not_with_their_depth() {
    let model = Model::of::<Rules>().unwrap();
    for leaf in [json!(1), json!("1"), json!("x"), json!({"deep": "x"}), Value::Null] {
        for ((field, shallow), (_, deep)) in nested(3, &leaf).into_iter().zip(nested(30, &leaf)) {
            let per_value = |value| {
                let values = json!({ field: value });
                looks(&model.plan, &values).0 / size(&values)
            };
            let (shallow, deep) = (per_value(shallow), per_value(deep));
            assert!(
                deep <= 2 * shallow && deep < 40,
                "{field} of {leaf}: {shallow} and {deep} looks per value"
            );
        }
    }
}

#[test]
fn values_of_every_kind_of_union_are_coerced_at_any_depth() {
    let model = Model::of::<Rules>().unwrap();
    for (field, value) in nested(6, &json!("1")).into_iter().filter(|(field, _)| *field != "flattened") {
        let checked = model.check(JsonObject::from_iter([(field.to_owned(), value)])).unwrap();
        serde_json::from_value::<Rules>(checked.into()).unwrap_or_else(|error| panic!("{field}: {error}"));
    }
    for (field, value) in nested(30, &json!("x")) {
        let invalid = model.check(JsonObject::from_iter([(field.to_owned(), value)])).unwrap_err();
        let [problem] = invalid.problems.as_slice() else { panic!("{field}: {invalid}") };
        assert!(problem.field.starts_with(field), "{problem}");
    }
}

#[test]
fn a_tag_tells_which_fields_are_wrong() {
    let model = Model::of::<Rules>().unwrap();
    let said = |values: Value| {
        let values = values.as_object().unwrap().clone();
        model.check(values).unwrap_err().to_string()
    };
    assert_eq!(
        said(json!({"internal": {"op": "And", "items": [{"op": "Is", "value": "x"}, {"op": "Is"}]}})),
        "internal.items[0].value: value is not a valid integer; internal.items[1].value: field required"
    );
    assert_eq!(
        said(json!({"adjacent": {"op": "Is", "of": []}})),
        "adjacent.of: value is not a valid integer"
    );
    assert_eq!(said(json!({"external": {"And": 1}})), "external.And: value is not a valid list");
    assert_eq!(
        said(json!({"untagged": {"items": [], "or": "x"}})),
        "untagged: value is none of the permitted kinds"
    );
}

#[test]
fn what_serde_needs_too_long_for_is_refused() {
    thread_local! {
        static READ: Cell<u64> = const { Cell::new(0) };
    }

    #[derive(JsonSchema)]
    #[schemars(transparent)]
    #[expect(dead_code, reason = "read only")]
    struct Leaf(i64);

    impl<'de> Deserialize<'de> for Leaf {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            READ.set(READ.get() + 1);
            i64::deserialize(deserializer).map(Self)
        }
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "read only")]
    enum Tree {
        One { inner: Box<Tree>, one: i64 },
        Two { inner: Box<Tree>, two: i64 },
        Leaf(Leaf),
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read only")]
    struct Inputs {
        tree: Tree,
    }

    let model = Model::of::<Inputs>().unwrap();
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!({"inner": inner, "two": 2}));
    for levels in 0..12 {
        let values = json!({ "tree": nested(levels) });
        let mut work = Work::on(&values);
        let foreseen = Walk::new(&model.plan, &mut work).foreseen_reading(&values);
        let checked = model.check(object(values)).unwrap();
        READ.set(0);
        serde_json::from_value::<Inputs>(checked.into()).unwrap();
        assert_eq!(READ.get(), 1 << levels, "serde tries each member with all that is in the value");
        assert!(foreseen >= READ.get(), "{levels} levels");
    }
    let invalid = model.check(JsonObject::from_iter([("tree".to_owned(), nested(60))])).unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "too much to check: the values are nested too deep for types with so many alternatives"
    );
}

#[test]
fn an_enum_may_have_any_number_of_variants() {
    let variants = |count: usize| -> Vec<Value> {
        let variant = |at| json!({"type": "object", "properties": {"op": {"const": format!("v{at}")}}, "required": ["op"]});
        (0..count).map(variant).collect()
    };
    let plan = |count| {
        let items = json!({"oneOf": variants(count)});
        let root =
            object(json!({"type": "object", "properties": {"list": {"type": "array", "items": items}}}));
        Plan::of(&RawSchema { root, definitions: JsonObject::new() }).unwrap()
    };
    for op in ["v1", "x"] {
        let values = json!({"list": vec![json!({"op": op}); 100]});
        let (few, many) = (looks(&plan(2), &values), looks(&plan(200), &values));
        assert_eq!(few.1, many.1);
        assert!(op == "x" || many.0 == few.0, "{few:?}, {many:?}");
    }
}

#[test]
fn a_great_many_problems_are_not_all_collected() {
    let model = model();
    let check = |texts: Value| model.check(values(json!({ "texts": texts }))).unwrap_err();
    let invalid = check(vec![Value::Null; 1001].into());
    assert_eq!((invalid.problems.len(), invalid.are_all), (1000, false));
    assert!(invalid.to_string().ends_with("; and more than 950 more"));
    assert!(check(vec![Value::Null; 1000].into()).are_all);

    let long_key = "k".repeat(100_000);
    let invalid = model.check(values(json!({ "map": {"a": "x"}, "tree": {"name": "t", "children": vec![
        json!({"name": {}, &long_key: 1}); 10] }, "strict": {&long_key: 1, &long_key[1..]: 1, &long_key[2..]: 1,
        &long_key[3..]: 1 }})));
    let invalid = invalid.unwrap_err();
    let bytes: usize =
        invalid.problems.iter().map(|problem| problem.field.len() + problem.message.len()).sum();
    assert!(!invalid.are_all && bytes < 512 * 1024, "{bytes} bytes of texts");
}

#[test]
fn what_is_nested_deeper_than_json_is_read_is_refused() {
    let model = model();
    let nested =
        |levels| (0..levels).fold(json!({"name": "t"}), |inner, _| json!({"name": "t", "children": [inner]}));
    assert!(model.check(values(json!({ "tree": nested(62) }))).is_ok());
    let invalid = model.check(values(json!({ "tree": nested(70) }))).unwrap_err();
    assert_eq!(invalid.to_string(), "nested deeper than 128 levels");
}

#[test]
fn a_type_of_nothing_but_itself_is_the_authors_mistake() {
    #[derive(Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    enum Endless {
        Number(i64),
        Again(Box<Endless>),
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inputs {
        endless: Endless,
    }

    let definition = "Endless".to_owned();
    assert_eq!(Model::of::<Inputs>().unwrap_err(), ModelError::Endless { definition });
}

#[test]
fn a_rule_that_looks_inside_cannot_refer_to_a_recursive_type() {
    let schema = |contains: Value| RawSchema {
        root: object(
            json!({"type": "object", "properties": {"list": {"type": "array", "contains": contains}}}),
        ),
        definitions: object(
            json!({"Flat": {"type": "integer"}, "Tree": {"items": {"$ref": "#/definitions/Tree"}}}),
        ),
    };
    let plan = Plan::of(&schema(json!({"$ref": "#/definitions/Flat"}))).unwrap();
    assert!(looks(&plan, &json!({"list": ["x", 1]})).1);
    assert!(!looks(&plan, &json!({"list": ["x"]})).1);
    let recursive = Plan::of(&schema(json!({"$ref": "#/definitions/Tree"}))).unwrap_err();
    assert!(recursive.to_string().contains("the recursive type `Tree`"), "{recursive}");
}

fn object(value: Value) -> JsonObject {
    let Value::Object(object) = value else { panic!("not an object") };
    object
}

/// Schemas of three definitions that refer to each other.
fn any_schema() -> impl Strategy<Value = RawSchema> {
    let part = any_part();
    (part.clone(), part.clone(), part.clone(), part).prop_map(|(a, b, c, field)| RawSchema {
        root: object(json!({"type": "object", "properties": {"a": field, "b": {"$ref": "#/definitions/A"}}})),
        definitions: object(json!({"A": a, "B": b, "C": c})),
    })
}

fn any_part() -> impl Strategy<Value = Value> + Clone {
    let leaf = prop_oneof![
        Just(json!({"type": "integer", "minimum": 1})),
        Just(json!({"type": "string", "maxLength": 2})),
        Just(json!({"type": ["number", "null"]})),
        Just(json!({"type": "boolean"})),
        Just(json!({"const": "x"})),
        Just(json!({"enum": [1, "y", null]})),
        Just(json!({"minimum": 2})),
        Just(json!({})),
        prop::sample::select(vec!["A", "B", "C"])
            .prop_map(|name| json!({"$ref": format!("#/definitions/{name}")})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 2..4);
        let required = prop::sample::subsequence(vec!["a", "b", "tag"], 0..3);
        let additional = prop::sample::select(vec![json!(true), json!(false), json!({"type": "integer"})]);
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "maxItems": 3})),
            several.clone().prop_map(|items| {
                json!({"type": "array", "minItems": items.len(), "maxItems": items.len(), "items": items})
            }),
            several.clone().prop_map(|members| json!({ "anyOf": members })),
            several.clone().prop_map(|members| json!({ "oneOf": members })),
            several.prop_map(|parts| json!({ "allOf": parts })),
            inner.clone().prop_map(|member| json!({"anyOf": [member, {"type": "null"}]})),
            (inner.clone(), inner, required, additional).prop_map(|(a, b, required, additional)| json!({
                "type": "object", "required": required, "additionalProperties": additional,
                "properties": {"tag": {"const": "x"}, "a": a, "b": b}
            })),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(1),
        json!(2.0),
        json!(0.5),
        json!("x"),
        json!("2"),
        json!("")
    ]),];
    let deep = leaf.prop_recursive(12, 40, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("(a|b|tag|z)", inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    (deep.clone(), deep).prop_map(|(a, b)| json!({"a": a, "b": b}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_schema_is_checked_in_bounded_work_and_as_the_library_does(schema in any_schema(), body in any_body()) {
        let plan = match Plan::of(&schema) {
            Err(ModelError::Endless { .. }) => return Ok(()),
            plan => plan.unwrap(),
        };
        let (looks, fits) = looks(&plan, &body);
        prop_assert!(looks <= most(&plan, &body), "{looks} looks, at most {}", most(&plan, &body));

        let library = jsonschema::options().with_draft(Draft::Draft7);
        let library = library.build(&schema.document(schema.root.clone().into())).unwrap();
        let mut work = Work::on(&body);
        prop_assert_eq!(Walk::new(&plan, &mut work).is_valid(plan.root, &body), library.is_valid(&body));
        let patch = Walk::new(&plan, &mut work).coerce(plan.root, &body);
        if fits && let Some(patch) = patch {
            prop_assert!(library.is_valid(&patch.apply(body)));
        }
    }
}
