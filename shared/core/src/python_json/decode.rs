//! The encodings that `json.loads` finds out by the first bytes of a body.

use std::borrow::Cow;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of one unit of the encoding, and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    Utf8,
    Utf16(Order),
    Utf32(Order),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

/// The body in UTF-8, without a byte order mark. Half of a surrogate pair becomes U+FFFD. What cannot be decoded stays
/// as it is: the parser then reports it.
pub(super) fn to_utf8(body: &[u8]) -> Cow<'_, [u8]> {
    let (units, body) = units(body);
    match units {
        Units::Utf8 => without_surrogates(body),
        Units::Utf16(order) => {
            let units = body.as_chunks::<2>().0.iter().map(|unit| match order {
                Order::Big => u16::from_be_bytes(*unit),
                Order::Little => u16::from_le_bytes(*unit),
            });
            let text: String =
                char::decode_utf16(units).map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            Cow::Owned(text.into_bytes())
        }
        Units::Utf32(order) => {
            let units = body.as_chunks::<4>().0.iter().map(|unit| match order {
                Order::Big => u32::from_be_bytes(*unit),
                Order::Little => u32::from_le_bytes(*unit),
            });
            let text: String =
                units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            Cow::Owned(text.into_bytes())
        }
    }
}

/// The encoding of a body, by the rule of Python's `json.detect_encoding`, and the body after its byte order mark.
fn units(body: &[u8]) -> (Units, &[u8]) {
    match body {
        [0, 0, 0xfe, 0xff, rest @ ..] => (Units::Utf32(Order::Big), rest),
        [0xff, 0xfe, 0, 0, rest @ ..] => (Units::Utf32(Order::Little), rest),
        [0xfe, 0xff, rest @ ..] => (Units::Utf16(Order::Big), rest),
        [0xff, 0xfe, rest @ ..] => (Units::Utf16(Order::Little), rest),
        [0, 0, _, _, ..] => (Units::Utf32(Order::Big), body),
        [0, _, _, _, ..] | [0, _] => (Units::Utf16(Order::Big), body),
        [_, 0, 0, 0, ..] => (Units::Utf32(Order::Little), body),
        [_, 0, _, _, ..] | [_, 0] => (Units::Utf16(Order::Little), body),
        _ => (Units::Utf8, body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)),
    }
}

/// UTF-8 in which halves of surrogate pairs (which Python writes as the bytes ED A0 80 to ED BF BF) are U+FFFD.
fn without_surrogates(body: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(body).is_ok() {
        return Cow::Borrowed(body);
    }
    let mut out = body.to_vec();
    for at in 0..out.len().saturating_sub(2) {
        if let [0xed, 0xa0..=0xbf, 0x80..=0xbf] = out[at..at + 3] {
            out[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    Cow::Owned(out)
}
