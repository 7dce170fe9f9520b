//! The numbers of versions: which texts are numbers, and their order.
//!
//! A number is a [semantic version](https://semver.org), or three numbers of which the last may have letters at its end,
//! as BlueKing allows them (`^[0-9]+\.[0-9]+\.[0-9][a-z0-9]*$`): published plugins are called `1.0.0assistant`.
//!
//! The order is that of the three numbers, then: `1.0.0-rc.1` (a pre-release) before `1.0.0`, that before
//! `1.0.0assistant`, and texts by semver's rules or as texts. Zeros in front count for nothing, so `1.0.01` is `1.0.1`.

use std::fmt;

use semver::{BuildMetadata, Prerelease, Version};

/// A version's number, in the order of versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VersionNumber {
    numbers: [u64; 3],
    kind: Kind,
    build: BuildMetadata,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    PreRelease(Prerelease),
    Release,
    /// Letters behind the numbers.
    Suffix(String),
}

/// The text is not a version number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version number: write one such as 1.2.0, 1.2.0-rc.1 or 1.2.0assistant")]
pub struct InvalidVersionNumber;

impl VersionNumber {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidVersionNumber> {
        match Version::parse(text) {
            Ok(Version { major, minor, patch, pre, build }) => {
                let kind = if pre.is_empty() { Kind::Release } else { Kind::PreRelease(pre) };
                Ok(Self { numbers: [major, minor, patch], kind, build })
            }
            Err(_) => Self::with_suffix(text).ok_or(InvalidVersionNumber),
        }
    }

    /// A number as BlueKing allows them.
    fn with_suffix(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (major, minor, last) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = last.len() - last.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (patch, suffix) = last.split_at(digits);
        if !suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return None;
        }
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        let kind = if suffix.is_empty() { Kind::Release } else { Kind::Suffix(suffix.to_owned()) };
        let numbers = [number(major)?, number(minor)?, number(patch)?];
        Some(Self { numbers, kind, build: BuildMetadata::EMPTY })
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        match &self.kind {
            Kind::PreRelease(pre) => write!(f, "-{pre}")?,
            Kind::Release => {}
            Kind::Suffix(suffix) => f.write_str(suffix)?,
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

/// Whether a text is a version number: what [`VersionNumber::parse`] finds, at compile time.
pub(crate) const fn is_valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(major), true) = number(bytes, 0) else { return false };
    let (Some(minor), true) = dot_and_number(bytes, major) else { return false };
    let (Some(patch), true) = dot_and_number(bytes, minor) else { return false };
    if patch == bytes.len() {
        return true;
    }
    match bytes[patch] {
        b'-' | b'+' => is_semver_tail(bytes, major, minor, patch),
        _ => all_lowercase_or_digits(bytes, patch),
    }
}

/// The end of the digits that begin at `from`, if there are some, and whether the number they write fits.
const fn number(bytes: &[u8], from: usize) -> (Option<usize>, bool) {
    let (mut at, mut value) = (from, Some(0_u64));
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        value = match value {
            Some(before) => match before.checked_mul(10) {
                Some(tens) => tens.checked_add((bytes[at] - b'0') as u64),
                None => None,
            },
            None => None,
        };
        at += 1;
    }
    (if at > from { Some(at) } else { None }, value.is_some())
}

const fn dot_and_number(bytes: &[u8], at: usize) -> (Option<usize>, bool) {
    if at < bytes.len() && bytes[at] == b'.' { number(bytes, at + 1) } else { (None, false) }
}

const fn all_lowercase_or_digits(bytes: &[u8], from: usize) -> bool {
    let mut at = from;
    while at < bytes.len() {
        if !bytes[at].is_ascii_lowercase() && !bytes[at].is_ascii_digit() {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether what stands behind the three numbers, which end at these places, makes a semantic version of them.
const fn is_semver_tail(bytes: &[u8], major: usize, minor: usize, patch: usize) -> bool {
    let no_zero_in_front = is_without_zero_in_front(bytes, 0, major)
        && is_without_zero_in_front(bytes, major + 1, minor)
        && is_without_zero_in_front(bytes, minor + 1, patch);
    let (mut at, mut in_build, mut begin) = (patch + 1, bytes[patch] == b'+', patch + 1);
    while at <= bytes.len() {
        let ends = at == bytes.len() || bytes[at] == b'.' || (bytes[at] == b'+' && !in_build);
        if ends {
            if at == begin || (!in_build && !is_pre_release(bytes, begin, at)) {
                return false;
            }
            begin = at + 1;
            in_build = in_build || (at < bytes.len() && bytes[at] == b'+');
        } else if !bytes[at].is_ascii_alphanumeric() && bytes[at] != b'-' {
            return false;
        }
        at += 1;
    }
    no_zero_in_front
}

/// Whether a part of a pre-release is one: a number has no zero in front.
const fn is_pre_release(bytes: &[u8], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        if !bytes[at].is_ascii_digit() {
            return true;
        }
        at += 1;
    }
    is_without_zero_in_front(bytes, from, to)
}

const fn is_without_zero_in_front(bytes: &[u8], from: usize, to: usize) -> bool {
    bytes[from] != b'0' || to - from == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_published_plugins_are_numbers() {
        for text in ["1.0.0", "1.0.0assistant", "2.0.0sse", "0.1.24assistant", "1.0.0a1", "10.2.33", "1.0.01"]
        {
            assert!(is_valid(text), "{text}");
        }
        for text in ["1.0.0-rc.1", "1.0.0-rc.1+build.5", "1.0.0+01", "1.0.0--"] {
            assert!(is_valid(text), "{text}");
        }
        for text in
            ["", "1.0", "1", "1.0.0Assistant", "1.0.x", "v1.0.0", "1.0.0.0", "1.0.0-", "1.0.0-01", "1..0"]
        {
            assert!(!is_valid(text), "{text}");
        }
        assert!(!is_valid("1.0.99999999999999999999999"), "larger than any number");
    }

    #[test]
    fn the_order_is_the_documented_one() {
        let ordered = [
            "0.1.24assistant",
            "1.0.0-alpha",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0assistant",
            "1.0.0sse",
            "1.0.1",
            "1.9.0",
            "1.10.0-rc.1",
            "1.10.0",
        ];
        for pair in ordered.windows(2) {
            let [one, other] = [pair[0], pair[1]].map(|text| VersionNumber::parse(text).unwrap());
            assert!(one < other, "{one} < {other}");
            assert_eq!(one.to_string(), pair[0]);
        }
        assert_eq!(VersionNumber::parse("1.0.01"), VersionNumber::parse("1.0.1"));
        assert_eq!(VersionNumber::parse("01.0.1a"), VersionNumber::parse("1.00.1a"));
    }

    proptest! {
        #[test]
        fn the_compiler_and_the_parser_agree(text in r"[0-9]{1,3}\.[0-9]{1,2}\.[0-9]{0,3}[-+.a-cA0-2]{0,6}") {
            prop_assert_eq!(is_valid(&text), VersionNumber::parse(&text).is_ok());
        }
    }
}
