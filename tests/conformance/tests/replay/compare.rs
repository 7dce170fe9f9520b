//! Compares an answer with the recorded one, except for values that differ from run to run.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// This run's ids, tokens and JWTs for the recorded ones.
#[derive(Clone, Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// Replaces all recorded names in `text` by those of this run.
    pub(crate) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (recorded, live)| text.replace(recorded, live))
    }

    pub(crate) fn knows(&self, recorded: &str) -> bool {
        self.0.contains_key(recorded)
    }

    fn is_live(&self, live: &str) -> bool {
        self.0.values().any(|known| known == live)
    }

    pub(crate) fn set(&mut self, recorded: &str, live: &str) {
        self.0.insert(recorded.to_owned(), live.to_owned());
    }

    /// Records `live` as this run's name for `recorded`. Returns `false` if either already has another
    /// counterpart.
    fn learn(&mut self, recorded: &str, live: &str) -> bool {
        if let Some(known) = self.0.get(recorded) {
            return known == live;
        }
        if self.is_live(live) {
            return false;
        }
        self.set(recorded, live);
        true
    }
}

/// Beginnings of messages that must equal the reference's; the rest of the message may differ.
const PREFIXES: [&str; 4] =
    ["invalid token", "callback fail", "404 error: ", "unknow error, please contact plugin developers: "];

/// Beginnings of the reference's messages that go on with the names of invalid fields.
const VALIDATION: [&str; 3] = ["inputs validation error: ", "context validation error: ", "输入不合法: "];

/// Adds the differences to `found`.
pub(super) fn compare(recorded: &Value, live: &Value, names: &mut Names, at: &str, found: &mut Vec<String>) {
    match (recorded, live) {
        (Value::String(recorded), Value::String(live)) => {
            if !same_text(recorded, live, names, at) {
                found.push(format!("{at}: {:?} is recorded, not {live:?}", names.apply(recorded)));
            }
        }
        (Value::Object(recorded), Value::Object(live)) => {
            for (key, value) in recorded {
                match live.get(key) {
                    Some(live) => compare(value, live, names, &format!("{at}.{key}"), found),
                    None => found.push(format!("{at}.{key} is missing")),
                }
            }
            let more = live.keys().filter(|key| !recorded.contains_key(*key));
            found.extend(more.map(|key| format!("{at}.{key} is not recorded")));
        }
        (Value::Array(recorded), Value::Array(live)) if recorded.len() == live.len() => {
            for (index, (recorded, live)) in recorded.iter().zip(live).enumerate() {
                compare(recorded, live, names, &format!("{at}[{index}]"), found);
            }
        }
        // 0 and 0.0 are the same number in JSON.
        (Value::Number(recorded), Value::Number(live)) if recorded.as_f64() == live.as_f64() => {}
        _ if recorded == live => {}
        _ => found.push(format!("{at}: {recorded} is recorded, not {live}")),
    }
}

fn same_text(recorded: &str, live: &str, names: &mut Names, at: &str) -> bool {
    if names.apply(recorded) == live {
        return true;
    }
    if is_id(recorded) && is_id(live) {
        return names.learn(recorded, live);
    }
    if time(recorded).is_some() && time(live).is_some_and(is_now) {
        return true;
    }
    if let (Some((_, there)), Some((before, here))) =
        (recorded.rsplit_once("/callback/"), live.rsplit_once("/callback/"))
    {
        return before.starts_with("http")
            && before.ends_with("/bk_plugin")
            && here.ends_with('/')
            && names.learn(there.trim_end_matches('/'), here.trim_end_matches('/'));
    }
    if at.ends_with(".HTTP_X_BKAPI_JWT") {
        return names.is_live(live);
    }
    if at.ends_with(".auth_info") {
        // JSON as text: spacing does not matter.
        return json_of(recorded).is_some() && json_of(recorded) == json_of(live);
    }
    match at {
        "body.data.language" => return live == "rust",
        "body.data.framework_version" | "body.data.runtime_version" => return !live.is_empty(),
        "body.data.log" => return same_log(recorded, live),
        _ => {}
    }
    PREFIXES.iter().any(|prefix| recorded.starts_with(prefix) && live.starts_with(prefix))
        || VALIDATION.iter().any(|prefix| {
            let (there, here) = (recorded.strip_prefix(prefix), live.strip_prefix(prefix));
            there.zip(here).is_some_and(|(there, here)| {
                fields(there).iter().all(|field| here.contains(field)) && !here.is_empty()
            })
        })
}

/// The fields that a message of the reference names: at the start of a line (pydantic), or in quotes before a
/// colon (Django REST framework).
fn fields(message: &str) -> Vec<&str> {
    let pydantic =
        message.lines().skip(1).filter(|line| !line.starts_with(' ')).flat_map(|line| line.split(" -> "));
    let django = message
        .split("': [ErrorDetail")
        .filter_map(|before| before.rsplit_once('\'').map(|(_, field)| field))
        .filter(|field| message.contains(&format!("'{field}': [ErrorDetail")));
    pydantic.chain(django).filter(|field| *field != "non_field_errors").collect()
}

/// Whether the plugin's own log lines are the same. The framework's lines around them may differ.
fn same_log(recorded: &str, live: &str) -> bool {
    recorded.lines().filter(|line| !line.contains('[')).all(|line| live.lines().any(|ours| ours == line))
}

fn json_of(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Parses a text of the form `YYYY-MM-DD HH:MM:SS`.
fn time(text: &str) -> Option<DateTime> {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    if !shape.eq(*b"0000-00-00 00:00:00") {
        return None;
    }
    text.parse().ok()
}

/// Whether the time is about now in Asia/Shanghai, the default time zone (the variable TZ sets another).
fn is_now(time: DateTime) -> bool {
    let shanghai = TimeZone::fixed(jiff::tz::offset(8)).to_datetime(Timestamp::now());
    (shanghai - time).total(jiff::Unit::Second).is_ok_and(|seconds| seconds.abs() < 600.0)
}

#[test]
fn fields_are_found_in_the_references_words() {
    assert_eq!(
        fields("1 validation error for Inputs\nhello\n  field required (type=value_error.missing)"),
        ["hello"]
    );
    assert_eq!(fields("1 validation error for X\ninfo -> url\n  field required"), ["info", "url"]);
    assert_eq!(
        fields("{'url': [ErrorDetail(string='x', code='y')], 'data': [ErrorDetail(string='z', code='y')]}"),
        ["url", "data"]
    );
    assert!(fields("{'non_field_errors': [ErrorDetail(string='无效数据', code='invalid')]}").is_empty());
}

#[test]
fn an_id_has_one_name() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let (one, two) = ("1".repeat(32), "2".repeat(32));
    let mut names = Names::default();
    assert!(names.learn(&a, &one) && names.learn(&a, &one) && names.learn(&b, &two));
    assert!(!names.learn(&a, &two), "it has another");
    assert!(!names.learn(&"c".repeat(32), &one), "that is another's");
}

#[test]
fn what_differs_is_found() {
    let differs = |recorded: Value, live: Value| {
        let mut found = Vec::new();
        compare(&recorded, &live, &mut Names::default(), "body", &mut found);
        !found.is_empty()
    };
    assert!(differs(json!({"a": 1}), json!({"a": true})));
    assert!(differs(json!({"a": 1}), json!({"a": 1, "b": 1})));
    assert!(differs(json!({"a": 1, "b": 1}), json!({"a": 1})));
    assert!(differs(json!([1]), json!([1, 2])));
    assert!(differs(json!("x"), json!("y")));
    assert!(differs(
        json!("inputs validation error: 1 validation error\nhello\n  x"),
        json!("inputs validation error: ?")
    ));
    assert!(differs(json!("2026-11-23 04:06:40"), json!("2020-01-01 00:00:00")));
    assert!(!differs(json!({"a": [0, "text"]}), json!({"a": [0.0, "text"]})));
}
