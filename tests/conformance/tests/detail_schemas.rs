//! The schemas of `detail` equal the reference's for the same plugin to the letter, the order of keys
//! included: forms are built from them, field by field.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use bk_plugin_service::protocol::Detail;
use serde_json::Value;

/// The schema as text, so that the order of keys counts. A number's default may be 0 in Python and 0.0 in
/// Rust.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap().replace("\"default\": 0.0", "\"default\": 0")
}

#[test]
fn schemas_are_the_references() {
    let registry = conformance::project().build().unwrap();
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut compared = 0;
    for version in registry.versions() {
        let Ok(transcript) = fs::read_to_string(transcripts.join(format!("detail_{version}.json"))) else {
            continue;
        };
        let transcript: Value = serde_json::from_str(&transcript).unwrap();
        let recorded = &transcript["steps"][0]["response"]["body"]["data"];
        let ours = serde_json::to_value(Detail::of(&registry, version)).unwrap();
        for schema in ["inputs", "outputs", "context_inputs"] {
            assert_eq!(pretty(&ours[schema]), pretty(&recorded[schema]), "{version} {schema}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 8, "every recorded detail of a version is compared");
}
