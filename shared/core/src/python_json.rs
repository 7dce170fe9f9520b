//! Integers that do not fit in 64 bits keep their digits.
//!
//! `serde_json` reads such an integer as a double and silently loses digits. So it is turned into a JSON string
//! before parsing. Validation converts text to the type of the field: a text field then holds every digit (as in
//! the reference, whose integers have no bound), and a 64-bit integer field reports that the number does not fit.

use std::borrow::Cow;

/// Digits of the shortest integer that may not fit in 64 bits.
const LONG: usize = 19;

/// `json` with the integers that do not fit in 64 bits as strings. Everything else, valid JSON or not, is
/// unchanged.
pub(super) fn exact_integers(json: &[u8]) -> Cow<'_, [u8]> {
    if has_long_digit_run(json) { rewritten(json) } else { Cow::Borrowed(json) }
}

/// Whether at least `LONG` digits follow one another anywhere. Such a run covers one of every `LONG` bytes, so the
/// others are not looked at: this function runs over every body.
fn has_long_digit_run(json: &[u8]) -> bool {
    let mut at = LONG - 1;
    while at < json.len() {
        if json[at].is_ascii_digit() {
            let before = json[..at].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let after = json[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if before + 1 + after >= LONG {
                return true;
            }
            at += after;
        }
        at += LONG;
    }
    false
}

fn rewritten(json: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while at < json.len() {
        match json[at] {
            b'"' => at += string_len(&json[at..]),
            b'-' | b'0'..=b'9' => {
                let len = number_len(&json[at..]);
                let number = &json[at..at + len];
                if is_too_long_an_integer(number) {
                    out.extend_from_slice(&json[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(number);
                    out.push(b'"');
                    copied = at + len;
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.extend_from_slice(&json[copied..]);
    Cow::Owned(out)
}

/// Length of the string that `json` begins with, quotes included.
fn string_len(json: &[u8]) -> usize {
    let mut at = 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

fn number_len(json: &[u8]) -> usize {
    let in_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    json.iter().take_while(in_number).count()
}

fn is_too_long_an_integer(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    // A number with a leading zero is not valid JSON: the parser must report it.
    if digits.len() < LONG || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let Ok(text) = std::str::from_utf8(number) else { return false };
    text.parse::<u64>().is_err() && text.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn exact(json: &str) -> String {
        String::from_utf8(exact_integers(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn only_integers_beyond_64_bits_become_text() {
        assert_eq!(
            exact(r#"{"a":123456789012345678901234567890,"b":[-9223372036854775809, 18446744073709551616]}"#),
            r#"{"a":"123456789012345678901234567890","b":["-9223372036854775809", "18446744073709551616"]}"#
        );
        for same in [
            r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":1234567890123456789}"#,
            r#"{"a":"123456789012345678901234567890","b":"\"123456789012345678901234567890"}"#,
            r#"{"a":12345678901234567890123.5,"b":12345678901234567890123e1,"c":0.1234567890123456789012}"#,
            r#"{"a":012345678901234567890123}"#,
            r#""123456789012345678901234567890"#,
            r#""123456789012345678901234567890\"#,
            "",
        ] {
            assert_eq!(exact(same), same);
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
            let read: Value = serde_json::from_slice(&exact_integers(json.as_bytes())).unwrap();
            prop_assert_eq!(read, serde_json::json!([digits]));
        }

        #[test]
        fn other_json_is_as_it_was(text in "[\\[\\]{}\",:\\\\0-9a.eE+-]{0,80}") {
            if let Ok(read) = serde_json::from_str::<Vec<u64>>(&text) {
                prop_assert_eq!(serde_json::from_slice::<Vec<u64>>(&exact_integers(text.as_bytes())).unwrap(), read);
            }
            // It never panics, and valid JSON stays valid.
            let exact = exact_integers(text.as_bytes());
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&exact).is_ok());
            }
        }
    }
}
