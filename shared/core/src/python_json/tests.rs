use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn loads(body: &[u8]) -> Result<Value, InvalidJson> {
    parse(body, Parser::Loads)
}

fn requested(body: &str) -> Result<Value, InvalidJson> {
    parse(body.as_bytes(), Parser::Request)
}

#[test]
fn only_numbers_that_are_too_large_become_text() {
    let read = requested(
        r#"{"a":123456789012345678901234567890,"b":[-9223372036854775809, 18446744073709551616],"c":1e400,"d":-1.5E+999}"#,
    );
    assert_eq!(
        read.unwrap(),
        json!({
            "a": "123456789012345678901234567890",
            "b": ["-9223372036854775809", "18446744073709551616"],
            "c": "1e400",
            "d": "-1.5E+999",
        })
    );
    for same in [
        r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1234567890123456789}"#,
        r#"{"a":"123456789012345678901234567890","b":"\"123456789012345678901234567890"}"#,
        r#"{"a":12345678901234567890123.5,"b":12345678901234567890123e1,"c":0.1234567890123456789012}"#,
        r#"{"a":1e-999,"b":0e999,"c":"1e999"}"#,
    ] {
        assert_eq!(requested(same).unwrap(), serde_json::from_str::<Value>(same).unwrap(), "{same}");
    }
}

#[test]
fn what_python_does_not_read_is_refused() {
    for body in [
        "",
        "{not json",
        "{} {}",
        "nan",
        "-NaN",
        "+1",
        "Infinity1",
        "[012345678901234567890123]",
        "[1.e999]",
        "[1e999.]",
        "[0x1]",
        r#""123456789012345678901234567890"#,
        r#""123456789012345678901234567890\"#,
        r#""\ud83d"#,
        r#""\ud8""#,
        "\"a\nb\"",
    ] {
        assert!(loads(body.as_bytes()).is_err(), "{body}");
        assert!(requested(body).is_err(), "{body}");
    }
    assert!(loads(b"\"\xff\"").is_err());
}

#[test]
fn constants_are_read_where_the_reference_reads_them() {
    let body = r#"{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN and -Infinity"}"#;
    let read = loads(body.as_bytes()).unwrap();
    assert_eq!(read, json!({"a": "NaN", "b": ["Infinity", "-Infinity"], "c": "NaN and -Infinity"}));
    assert_eq!(requested(body).unwrap_err().to_string(), "expected value at line 1 column 7");
}

#[test]
fn half_of_an_emoji_is_replaced_and_nothing_else() {
    let read = |body: &str| requested(body).unwrap();
    assert_eq!(read(r#""a\ud83d""#), "a\u{fffd}");
    assert_eq!(read(r#""\ud83d\ude00 \uDE00\ud83d\\ud83d""#), "\u{1f600} \u{fffd}\u{fffd}\\ud83d");
    assert_eq!(read(r#""\ud83d\ud83d\ude00""#), "\u{fffd}\u{1f600}");
    assert_eq!(read(r#"{"\udfff": "\ud83dA"}"#), json!({"\u{fffd}": "\u{fffd}A"}));
    // As Python writes it with ensure_ascii=False and errors="surrogatepass".
    assert_eq!(loads(b"\"\xed\xa0\xbd\"").unwrap(), "\u{fffd}");
}

#[test]
fn encodings_are_recognised() {
    let text = "{\"a\": \"中\u{1f600}\"}";
    let value: Value = serde_json::from_str(text).unwrap();
    let utf16 = |swap: bool| -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect()
    };
    let utf32 = |swap: bool| -> Vec<u8> {
        text.chars()
            .flat_map(|c| if swap { u32::from(c).to_be_bytes() } else { u32::from(c).to_le_bytes() })
            .collect()
    };
    let marked = |mark: &[u8], body: &[u8]| [mark, body].concat();
    for body in [
        text.as_bytes().to_vec(),
        marked(b"\xef\xbb\xbf", text.as_bytes()),
        utf16(true),
        utf16(false),
        utf32(true),
        utf32(false),
        marked(b"\xfe\xff", &utf16(true)),
        marked(b"\xff\xfe", &utf16(false)),
        marked(b"\x00\x00\xfe\xff", &utf32(true)),
        marked(b"\xff\xfe\x00\x00", &utf32(false)),
    ] {
        assert_eq!(loads(&body).unwrap(), value, "{body:?}");
    }
    assert_eq!(loads(b"1\0").unwrap(), 1);
    assert_eq!(loads(b"\x001").unwrap(), 1);
    assert!(requested("\u{feff}{}").is_err(), "as in the reference");
}

#[test]
fn the_limit_of_nesting_is_named() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(requested(&nested(DEEPEST)).is_ok());
    for levels in [DEEPEST + 1, 10_000] {
        let error = requested(&nested(levels)).unwrap_err();
        assert_eq!(error.to_string(), "it is nested more than 127 levels deep, which is the limit");
    }
}

proptest! {
    #[test]
    fn every_integer_is_found(
        before in 0_usize..60,
        after in 0_usize..60,
        digits in "-?[1-9][0-9]{20,60}",
    ) {
        let json = format!("[{}{digits}{}]", " ".repeat(before), " ".repeat(after));
        prop_assert_eq!(requested(&json).unwrap(), json!([digits]));
    }

    /// JSON that serde_json reads without loss is read in the same way, and nothing panics.
    #[test]
    fn other_json_is_as_it_was(text in "[\\[\\]{}\",:\\\\0-9a.eE+-NIud]{0,80}") {
        let read = loads(text.as_bytes());
        if let Ok(values) = serde_json::from_str::<Vec<u64>>(&text) {
            prop_assert_eq!(read.unwrap(), json!(values));
        } else if serde_json::from_str::<Value>(&text).is_ok() {
            prop_assert!(read.is_ok());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>) {
        let _ = loads(&body);
        let _ = parse(&body, Parser::Request);
    }

    /// Every text survives, however it is written.
    #[test]
    fn texts_survive(text: String) {
        let escaped: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = escaped.concat();
        prop_assert_eq!(requested(&format!("\"{escaped}\"")).unwrap(), text.clone());
        prop_assert_eq!(requested(&Value::from(text.clone()).to_string()).unwrap(), text);
    }
}
