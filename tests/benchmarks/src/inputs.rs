//! What the check of inputs costs: for each kind of enum, by the depth and by the size of a body.
//!
//! The figures of one kind must not grow: then the cost is linear. Beside them stands what serde alone needs to read
//! the same body as the same type.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bk_plugin_kit::runtime::Model;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Failure;

/// How long one body is checked again and again.
const TIME: Duration = Duration::from_millis(100);

#[derive(Deserialize, JsonSchema)]
struct Inputs<T> {
    #[allow(dead_code, reason = "read only")]
    rule: T,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "op")]
#[allow(dead_code, reason = "read only")]
enum Internal {
    And { items: Vec<Internal> },
    Or { items: Vec<Internal> },
    Is { value: i64 },
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "op", content = "of")]
#[allow(dead_code, reason = "read only")]
enum Adjacent {
    And(Vec<Adjacent>),
    Or(Vec<Adjacent>),
    Is(i64),
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read only")]
enum External {
    And(Vec<External>),
    Or(Vec<External>),
    Is(i64),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "read only")]
enum Untagged {
    And { items: Vec<Untagged>, and: i64 },
    Or { items: Vec<Untagged>, or: i64 },
    Is(i64),
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "read only")]
struct Struct {
    value: i64,
    items: Vec<Struct>,
}

/// A kind of type: what its values are made of.
struct Kind {
    name: &'static str,
    leaf: Value,
    around: fn(Vec<Value>) -> Value,
}

pub(crate) fn run() -> Result<(), Failure> {
    println!("\nChecking inputs, ns a byte; read: serde_json::from_str of the same body as the same type");
    println!(
        "{:10} {:>6} {:>6} {:>9} | {:>7} {:>7} | {:>7}",
        "enum", "levels", "items", "bytes", "check", "refuse", "read"
    );
    curve::<Struct>(&Kind {
        name: "(struct)",
        leaf: json!({"value": 1, "items": []}),
        around: |of| json!({"value": 1, "items": of}),
    })?;
    curve::<Internal>(&Kind {
        name: "internal",
        leaf: json!({"op": "Is", "value": 1}),
        around: |of| json!({"items": of, "op": "Or"}),
    })?;
    curve::<Adjacent>(&Kind {
        name: "adjacent",
        leaf: json!({"op": "Is", "of": 1}),
        around: |of| json!({"of": of, "op": "Or"}),
    })?;
    curve::<External>(&Kind { name: "external", leaf: json!({"Is": 1}), around: |of| json!({ "Or": of }) })?;
    curve::<Untagged>(&Kind { name: "untagged", leaf: json!(1), around: |of| json!({"items": of, "or": 1}) })
}

fn curve<T: DeserializeOwned + JsonSchema>(kind: &Kind) -> Result<(), Failure> {
    let model = Model::of::<Inputs<T>>()?;
    for levels in [1, 5, 10, 20, 40] {
        row::<T>(&model, kind, levels, 1)?;
    }
    for items in [100, 10_000, 100_000] {
        row::<T>(&model, kind, 2, items)?;
    }
    Ok(())
}

fn row<T: DeserializeOwned>(model: &Model, kind: &Kind, levels: usize, items: usize) -> Result<(), Failure> {
    let nested = |leaf: &Value| {
        let first = (kind.around)(vec![leaf.clone(); items]);
        let rule = (1..levels).fold(first, |inner, _| (kind.around)(vec![inner]));
        json!({ "rule": rule })
    };
    let body = serde_json::to_string(&nested(&kind.leaf))?;
    // The same with one value that does not fit at the bottom.
    let wrong = serde_json::to_string(&nested(&json!({"op": "Is", "value": "x"})))?;

    let check = |body: &str| -> Result<(f64, bool), Failure> {
        let Value::Object(values) = serde_json::from_str(body)? else { return Err("not an object".into()) };
        let fits = model.check(values.clone()).is_ok();
        let copying = ns_a_byte(body, || drop(black_box(values.clone())));
        let all = ns_a_byte(body, || drop(black_box(model.check(values.clone()))));
        Ok((all - copying, fits))
    };
    let ((checked, fits), (refused, _)) = (check(&body)?, check(&wrong)?);
    let read = if fits {
        let read = ns_a_byte(&body, || drop(black_box(serde_json::from_str::<Inputs<T>>(&body))));
        format!("{read:7.1}")
    } else {
        "refused".to_owned()
    };
    let (name, bytes) = (kind.name, body.len());
    println!("{name:10} {levels:6} {items:6} {bytes:9} | {checked:7.1} {refused:7.1} | {read}");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures of three digits are printed")]
fn ns_a_byte(body: &str, mut run: impl FnMut()) -> f64 {
    let (started, mut runs) = (Instant::now(), 0_u64);
    while runs == 0 || started.elapsed() < TIME {
        run();
        runs += 1;
    }
    started.elapsed().as_nanos() as f64 / runs as f64 / body.len() as f64
}
