//! Types and names that authors use.

use std::net::IpAddr;

use super::*;

/// What `check` makes of the values of `T`, read as `T`; or what it says.
fn read<T: DeserializeOwned + JsonSchema>(values: Value) -> Result<T, String> {
    let Value::Object(values) = values else { panic!("not an object") };
    let checked = Model::of::<T>().unwrap().check(values);
    crate::from_json::from_json(&Value::from(checked.map_err(|invalid| invalid.to_string())?))
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct 输入 {
    名称: String,
    #[serde(default)]
    下级: Vec<输入>,
    类型: Option<类型>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
enum 类型 {
    主机,
    /// With a doc comment.
    集群,
}

#[test]
fn a_type_may_have_any_name() {
    let values = json!({"名称": 1, "下级": [{"名称": 2, "类型": "主机"}]});
    let inner = 输入 { 名称: "2".to_owned(), 下级: vec![], 类型: Some(类型::主机) };
    assert_eq!(read(values), Ok(输入 { 名称: "1".to_owned(), 下级: vec![inner], 类型: None }));
    assert_eq!(read::<输入>(json!({"名称": "a", "下级": [{}]})).unwrap_err(), "下级[0].名称: field required");

    let model = Model::of::<输入>().unwrap();
    let shown = Value::from(model.schema().clone());
    assert_eq!(shown["properties"]["下级"]["items"], json!({"$ref": "#/definitions/输入"}));
    assert_eq!(shown["properties"]["类型"], json!({"$ref": "#/definitions/类型"}));
    assert_eq!(shown["definitions"]["类型"]["enum"], json!(["主机", "集群"]));
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Aliased {
    #[serde(alias = "num", alias = "Count")]
    count: i64,
    #[serde(rename = "hostName", alias = "host")]
    host_name: String,
    #[serde(default, alias = "subs")]
    inner: Vec<Inner>,
    by_name: Option<BTreeMap<String, Inner>>,
    choice: Option<Choice>,
    pair: Option<(Inner, i64)>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[serde(alias = "b")]
    a: i64,
    more: Option<Box<Inner>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "read only")]
enum Choice {
    Struct {
        #[serde(alias = "w")]
        wide: bool,
    },
    Other(Inner),
}

#[test]
fn an_alias_counts_for_a_required_field_and_is_coerced() {
    let values = json!({
        "num": "1", "host": 2, "subs": [{"b": "3", "more": {"b": "4"}}], "by_name": {"x": {"b": "5"}},
        "choice": {"Struct": {"w": "on"}}, "pair": [{"b": "6"}, "7"]
    });
    let read_back: Aliased = read(values).unwrap();
    assert_eq!((read_back.count, read_back.host_name.as_str()), (1, "2"));
    assert_eq!((read_back.inner[0].a, read_back.inner[0].more.as_ref().unwrap().a), (3, 4));
    assert_eq!(read_back.by_name.unwrap()["x"].a, 5);
    assert!(matches!(read_back.choice, Some(Choice::Struct { wide: true })));
    assert_eq!(read_back.pair.map(|(inner, number)| (inner.a, number)), Some((6, 7)));

    let said = |values| read::<Aliased>(values).unwrap_err();
    assert_eq!(said(json!({"num": "x"})), "hostName: field required; num: value is not a valid integer");
    assert_eq!(said(json!({"num": 1, "Count": 2, "host": "h"})), "duplicate field `count`");
    let values = json!({"count": 1, "host": "h", "choice": {"Other": {"b": 1, "c": 1}}});
    assert_eq!(said(values), "choice.Other.c: extra fields not permitted");
}

#[test]
fn aliases_of_no_use_are_left_alone() {
    /// Its `Deserialize` is not what serde derives.
    #[derive(Deserialize, JsonSchema)]
    #[serde(try_from = "Value")]
    #[expect(dead_code, reason = "read only")]
    struct Checked {
        field: i64,
    }

    impl TryFrom<Value> for Checked {
        type Error = &'static str;

        fn try_from(value: Value) -> Result<Self, Self::Error> {
            Ok(Self { field: value["field"].as_i64().ok_or("not a number")? })
        }
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read only")]
    struct Flat {
        own: i64,
        #[serde(flatten)]
        inner: Nested,
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read only")]
    struct Nested {
        checked: Checked,
        #[serde(deserialize_with = "panics")]
        number: i64,
    }

    fn panics<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let number = i64::deserialize(deserializer);
        assert!(number.is_ok(), "the check has seen a number");
        number
    }

    assert!(read::<Flat>(json!({"own": "1", "checked": {"field": 2}, "number": "3"})).is_ok());
    assert!(read::<Nested>(json!({"checked": {"field": 2}, "number": "3"})).is_ok());
}

#[test]
fn a_text_of_a_type_of_its_own_is_refused_with_its_field() {
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(tag = "by")]
    #[expect(dead_code, reason = "read only")]
    enum Host {
        Address { address: IpAddr },
        Id { id: Uuid },
    }

    /// As the schema of the crate `uuid`'s type.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[schemars(inline)]
    #[expect(dead_code, reason = "read only")]
    struct Uuid(#[schemars(extend("format" = "uuid"))] String);

    #[derive(Debug, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "read only")]
    struct Inputs {
        #[serde(flatten)]
        host: Host,
        also: Vec<IpAddr>,
    }

    let said = |host: Value, also: Value| {
        let mut values = host;
        values["also"] = also;
        read::<Inputs>(values).unwrap_err()
    };
    let address = json!({"by": "Address", "address": "::1"});
    assert_eq!(said(address, json!(["10.0.0.1", "10.0.0"])), "also[1]: value is not a valid ip");
    assert_eq!(said(json!({"by": "Address", "address": "x"}), json!([])), "address: value is not a valid ip");
    assert_eq!(said(json!({"by": "Id", "id": "x"}), json!([])), "id: value is not a valid uuid");
    for id in [
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "{67e5504410b1426f9247bb680e5fe0c8}",
        "urn:uuid:67e5504410b1426f9247bb680e5fe0c8",
    ] {
        assert!(read::<Inputs>(json!({"by": "Id", "id": id, "also": []})).is_ok(), "{id}");
    }
}

#[test]
fn a_problem_at_a_numeric_key_is_said_once() {
    assert_refused(json!({"by_number": {"7": "x"}}), "by_number.7: value could not be parsed to a boolean");
    assert_refused(json!({"map": {"7": "x"}}), "map.7: value is not a valid integer");
    assert_refused(json!({"by_number": {"x": true}}), "by_number.x: extra fields not permitted");
}
