//! Tries every coercion here that was tried on the reference.

use bk_plugin_kit::JsonObject;
use bk_plugin_kit::runtime::{Invalid, Model};
use conformance::plugins::v1_1_0;
use serde_json::{Value, json};

const MATRIX: &str = include_str!("data/coercion_matrix.md");

/// A case that differs from the reference on purpose.
struct Exception {
    reason: &'static str,
    inputs: &'static [&'static str],
    fields: &'static [&'static str],
    /// The value of the input here; `None` if it is refused.
    becomes: Option<&'static str>,
}

const BEYOND_64_BITS: &str = "12345678901234567890123";

const EXCEPTIONS: [Exception; 5] = [
    Exception {
        reason: "a number does not lose its fraction unseen",
        inputs: &["1.5"],
        fields: &["int_field", "int_default", "constrained", "opt_int", "int_enum"],
        becomes: None,
    },
    Exception {
        reason: "an integer beyond 64 bits fits no integer of Rust",
        inputs: &[BEYOND_64_BITS, "1e+300"],
        fields: &["int_field", "int_default", "opt_int"],
        becomes: None,
    },
    Exception {
        reason: "a fraction is refused by the union's integer, and so is its text",
        inputs: &["1.5"],
        fields: &["union_field"],
        becomes: Some(r#""1.5""#),
    },
    Exception {
        reason: "a float beyond 64 bits is refused by the union's integer, and so is its text",
        inputs: &["1e+300"],
        fields: &["union_field"],
        becomes: Some(r#""1e+300""#),
    },
    Exception {
        reason: "an integer beyond 64 bits arrives as text already",
        inputs: &[BEYOND_64_BITS],
        fields: &["union_field", "any_field"],
        becomes: Some(r#""12345678901234567890123""#),
    },
];

struct Case<'m> {
    field: &'m str,
    input: &'m str,
    /// The value of the input in the reference; `None` if it was refused.
    becomes: Option<&'m str>,
}

fn cases() -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for line in MATRIX.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| field")) {
        let [field, accepted, rejected] = line.trim_matches('|').splitn(3, '|').collect::<Vec<_>>()[..]
        else {
            panic!("a line of three columns: {line}");
        };
        let column = |text: &'static str| text.trim().split("; ").filter(|case| !case.is_empty());
        for case in column(accepted) {
            let (input, becomes) = case.split_once(" → ").unwrap_or((case, case));
            cases.push(Case { field: field.trim(), input, becomes: Some(becomes) });
        }
        for input in column(rejected) {
            cases.push(Case { field: field.trim(), input, becomes: None });
        }
    }
    cases
}

/// The required fields of `inputs`.
fn required_inputs() -> JsonObject {
    let inputs = json!({
        "int_field": 1, "str_field": "s", "bool_field": true, "float_field": 1.5, "list_field": [1, "a", null],
        "dict_field": {"k": [1]}, "any_field": {"x": 1}, "described": "d", "options": {"name": "n"}
    });
    inputs.as_object().cloned().unwrap_or_default()
}

/// Reads a value as the service reads a request: integers beyond 64 bits become text.
fn read(text: &str) -> Value {
    let beyond = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_err();
    if beyond { text.into() } else { serde_json::from_str(text).expect("a JSON value") }
}

/// The value of the field that the plugin gets; `None` if the inputs are refused.
fn outcome(model: &Model, case: &Case<'_>) -> Option<Value> {
    let mut inputs = required_inputs();
    inputs.insert(case.field.to_owned(), read(case.input));
    let checked = model.check(inputs).inspect_err(|invalid| assert_names(invalid, case)).ok()?;
    let inputs: v1_1_0::Inputs = serde_json::from_value(checked.into()).expect("checked values deserialize");
    serde_json::to_value(inputs).expect("JSON").get_mut(case.field).map(Value::take)
}

fn assert_names(invalid: &Invalid, case: &Case<'_>) {
    let named = invalid.problems.iter().all(|problem| problem.field.starts_with(case.field));
    assert!(named && !invalid.problems.is_empty(), "{} {}: {invalid}", case.field, case.input);
}

#[test]
fn agrees_with_the_reference() {
    let model = Model::of::<v1_1_0::Inputs>().expect("a valid model");
    let cases = cases();
    let mut used = [0; EXCEPTIONS.len()];
    let mut failures = Vec::new();
    for case in &cases {
        let exception = EXCEPTIONS.iter().position(|exception| {
            exception.fields.contains(&case.field) && exception.inputs.contains(&case.input)
        });
        let expected = exception.map_or(case.becomes, |exception| EXCEPTIONS[exception].becomes).map(read);
        if let Some(exception) = exception {
            used[exception] += 1;
        }
        let outcome = outcome(&model, case);
        if outcome != expected {
            failures.push(format!("{} {}: {outcome:?}, expected {expected:?}", case.field, case.input));
        }
    }

    println!("{} cases, {} of them exceptions:", cases.len(), used.iter().sum::<usize>());
    for (exception, used) in EXCEPTIONS.iter().zip(used) {
        println!("{used:3} {}", exception.reason);
        assert_eq!(used, exception.inputs.len() * exception.fields.len(), "{}", exception.reason);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
