//! JSON as the reference reads it, with Python's parser.
//!
//! Python reads more than JSON allows, and callers rely on it: a byte order mark, `NaN`, numbers of any size, half of
//! an emoji. Each has one meaning here:
//!
//! - **A number that neither a 64-bit integer nor a double can hold** becomes text, with the characters of the body:
//!   `123456789012345678901234567890`, `1e400`, `NaN`, `-Infinity`. A text field then has every digit, and a number
//!   field refuses the value and says why.
//! - **Half of a surrogate pair** (`"\ud83d"`, a text cut inside an emoji) becomes U+FFFD, the replacement character.
//! - **UTF-8 with a byte order mark, UTF-16 and UTF-32** are decoded.
//!
//! Everything else of the body is kept.

use std::borrow::Cow;

use serde_json::Value;

mod decode;

/// How deeply arrays and objects may be nested. It is the bound of `serde_json`, which every store and every check of
/// a value keeps to. (Python's own is near 1,000 and depends on the stack.)
pub const DEEPEST: usize = 127;

/// Which of the reference's two parsers reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parser {
    /// `json.loads`, which reads callbacks, texts inside a body, and rows at rest.
    Loads,
    /// Django REST framework's, which reads the bodies of its routes: UTF-8 without a byte order mark, and neither
    /// `NaN` nor `Infinity`.
    Request,
}

/// Why a text is not JSON.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJson {
    /// It breaks the rules of JSON at the line and column that the error names.
    #[error(transparent)]
    Syntax(serde_json::Error),
    /// It is nested too deeply.
    #[error("it is nested more than {DEEPEST} levels deep, which is the limit")]
    TooDeep,
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        // serde_json has no category of its own for this.
        if error.to_string().starts_with("recursion limit exceeded") {
            Self::TooDeep
        } else {
            Self::Syntax(error)
        }
    }
}

/// Reads one JSON value.
///
/// # Errors
/// See [`InvalidJson`]. Lines and columns count from 1, in the body as it was sent.
///
/// ```
/// use bk_plugin_core::python_json::{Parser, parse};
///
/// let body = "\u{feff}{\"load\": NaN, \"title\": \"cut \\ud83d\", \"id\": 123456789012345678901234567890}";
/// let value = parse(body.as_bytes(), Parser::Loads)?;
/// assert_eq!(value["load"], "NaN");
/// assert_eq!(value["title"], "cut \u{fffd}");
/// assert_eq!(value["id"], "123456789012345678901234567890");
/// # Ok::<(), bk_plugin_core::python_json::InvalidJson>(())
/// ```
pub fn parse(body: &[u8], parser: Parser) -> Result<Value, InvalidJson> {
    let json = match parser {
        Parser::Loads => decode::to_utf8(body),
        Parser::Request => Cow::Borrowed(body),
    };
    // Most bodies are read at once. serde_json reads a long integer as a double, and silently loses digits.
    let refused = if has_long_digit_run(&json) {
        None
    } else {
        match serde_json::from_slice(&json) {
            Ok(value) => return Ok(value),
            Err(error) => Some(error),
        }
    };
    match (rewritten(&json, parser), refused) {
        (Cow::Borrowed(_), Some(error)) => Err(error.into()),
        (rewritten, refused) => {
            serde_json::from_slice(&rewritten).map_err(|error| refused.unwrap_or(error).into())
        }
    }
}

/// Digits of the shortest integer that may not fit in 64 bits.
const LONG: usize = 19;

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

/// `json` as JSON, with a text in place of each number that is too large, and a replacement character in place of
/// each half of a surrogate pair. What is not JSON for Python either is unchanged.
fn rewritten(json: &[u8], parser: Parser) -> Cow<'_, [u8]> {
    let mut out = Rewriter { json, out: Vec::new(), copied: 0 };
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => at = out.string(at),
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                let len = number_len(&json[at..]);
                let number = &json[at..at + len];
                if is_too_large(number) || parser == Parser::Loads && CONSTANTS.contains(&number) {
                    out.replace(at, len, &[b"\"", number, b"\""].concat());
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    out.finish()
}

/// What Python writes for numbers that JSON does not have.
const CONSTANTS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

struct Rewriter<'a> {
    json: &'a [u8],
    out: Vec<u8>,
    /// Bytes of `json` that are in `out`, as they were or replaced.
    copied: usize,
}

impl<'a> Rewriter<'a> {
    fn replace(&mut self, at: usize, len: usize, replacement: &[u8]) {
        self.out.extend_from_slice(&self.json[self.copied..at]);
        self.out.extend_from_slice(replacement);
        self.copied = at + len;
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.copied == 0 {
            return Cow::Borrowed(self.json);
        }
        self.out.extend_from_slice(&self.json[self.copied..]);
        Cow::Owned(self.out)
    }

    /// Goes through the string that begins at `start`, and returns where it ends.
    fn string(&mut self, start: usize) -> usize {
        let json = self.json;
        let mut at = start + 1;
        while at < json.len() {
            match json[at] {
                b'"' => return at + 1,
                b'\\' => match surrogate(&json[at..]) {
                    Some(Half::High) if surrogate(&json[at + ESCAPE..]) == Some(Half::Low) => {
                        at += 2 * ESCAPE;
                    }
                    Some(_) => {
                        self.replace(at, ESCAPE, b"\\ufffd");
                        at += ESCAPE;
                    }
                    None => at += 2,
                },
                _ => at += 1,
            }
        }
        json.len()
    }
}

/// Length of an escape such as `\ud83d`.
const ESCAPE: usize = 6;

/// The halves of a character beyond U+FFFF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// Which half of a surrogate pair the escape is that `json` begins with.
fn surrogate(json: &[u8]) -> Option<Half> {
    let [b'\\', b'u', b'd' | b'D', second, third, fourth, ..] = json else { return None };
    if !third.is_ascii_hexdigit() || !fourth.is_ascii_hexdigit() {
        return None;
    }
    match second.to_ascii_lowercase() {
        b'8' | b'9' | b'a' | b'b' => Some(Half::High),
        b'c'..=b'f' => Some(Half::Low),
        _ => None,
    }
}

/// Length of the number, or of the word in its place, that `json` begins with.
fn number_len(json: &[u8]) -> usize {
    let in_number =
        |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.') || byte.is_ascii_alphabetic();
    json.iter().take_while(in_number).count()
}

/// Whether `number` is one of JSON's numbers that neither a 64-bit integer nor a double can hold.
fn is_too_large(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let Ok(text) = std::str::from_utf8(number) else { return false };
    // A number with a leading zero, or one that ends in a point, is not valid JSON: the parser must report it.
    let begins_well = match digits {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    };
    if !begins_well {
        return false;
    }
    if digits.iter().all(u8::is_ascii_digit) {
        return digits.len() >= LONG && text.parse::<u64>().is_err() && text.parse::<i64>().is_err();
    }
    let has_digits_after_point =
        digits.split(|byte| *byte == b'.').skip(1).all(|rest| rest.first().is_some_and(u8::is_ascii_digit));
    has_digits_after_point && text.parse::<f64>().is_ok_and(f64::is_infinite)
}

#[cfg(test)]
mod tests;
