//! The schemas of `detail` are, to the letter, those the reference gives for the same plugin.

mod kinds;

use bk_plugin_kit::{JsonObject, schema};
use schemars::JsonSchema;
use serde_json::Value;

const DETAIL_1_1_0: &str = include_str!("data/detail_1.1.0.json");
const DETAIL_1_1_2: &str = include_str!("data/detail_1.1.2.json");
const DETAIL_1_6_1: &str = include_str!("data/detail_1.6.1.json");

/// Compares as text, so that the order of keys counts as well.
fn assert_recorded<T: JsonSchema>(detail: &str, part: &str) {
    let recorded: Value = serde_json::from_str(detail).expect("recorded JSON");
    let ours = schema::of::<T>().expect("a struct");
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
    assert_eq!(pretty(&Value::Object(ours)), pretty(&recorded[part]), "{part}");
}

#[test]
fn every_kind_of_field() {
    assert_recorded::<kinds::Inputs>(DETAIL_1_1_0, "inputs");
    assert_recorded::<kinds::Outputs>(DETAIL_1_1_0, "outputs");
    assert_recorded::<kinds::ContextInputs>(DETAIL_1_1_0, "context_inputs");
}

#[test]
fn denied_unknown_fields_do_not_show() {
    #[derive(JsonSchema)]
    #[schemars(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inputs {
        a: i64,
    }

    assert_recorded::<Inputs>(DETAIL_1_1_2, "inputs");
    assert_recorded::<Inputs>(DETAIL_1_1_2, "outputs");
}

#[test]
fn a_titled_reference_stands_in_all_of() {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct PluginCallbackModel {
        url: String,
        data: JsonObject,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct ContextInputs {
        #[schemars(title = "任务回调信息")]
        plugin_callback_info: PluginCallbackModel,
    }

    #[derive(JsonSchema)]
    struct Nothing {}

    assert_recorded::<ContextInputs>(DETAIL_1_6_1, "context_inputs");
    assert_recorded::<Nothing>(DETAIL_1_6_1, "inputs");
}
