//! Identifiers: random 128-bit identifiers, written as 32 hexadecimal digits.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The text is not an identifier.
#[derive(Debug, thiserror::Error)]
#[error("an identifier is 32 lower-case hexadecimal digits")]
pub struct NotAnId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new random identifier.
            pub fn random() -> Self {
                Self(random_hex())
            }

            /// Reads 32 lower-case hexadecimal digits.
            pub fn parse(text: &str) -> Result<Self, NotAnId> {
                let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
                if text.len() == 32 && text.bytes().all(hex) { Ok(Self(text.to_owned())) } else { Err(NotAnId) }
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Names one invocation from `invoke` to its end; every answer and every log line carries it.
    TraceId
}
id! {
    /// Names one callback URL that a plugin prepared, so that a plugin with several can tell them apart.
    CallbackId
}
id! {
    /// Names one accepted callback, in the inbox of the record and in the wake-up sent for it.
    Receipt
}
id! {
    /// Names one run of a step; only its holder may commit.
    LeaseToken
}

impl LeaseToken {
    /// The first digits of the token of a run alone, and of one in 65536 others.
    const ALONE: &str = "a10e";

    /// A new random token for a run alone (`WakeUp::alone`).
    pub fn random_alone() -> Self {
        Self::marked(random_hex())
    }

    /// The token for the run alone after the one that had this token.
    #[must_use]
    pub fn next_alone(&self) -> Self {
        Self::marked(hex(&Sha256::digest(self.0.as_bytes())[..16]))
    }

    fn marked(mut token: String) -> Self {
        token.replace_range(..Self::ALONE.len(), Self::ALONE);
        Self(token)
    }

    /// Whether it seems to be the token of a run alone.
    pub fn is_alone(&self) -> bool {
        self.0.starts_with(Self::ALONE)
    }
}

impl CallbackId {
    /// The callback of an invocation with this name.
    ///
    /// Ids are derived, not random: a step that is run again hands out the same ones. They need no secrecy, since the
    /// token of a callback URL is authenticated.
    pub fn named(trace_id: &TraceId, name: &str) -> Self {
        Self::derived(&format!("callback {trace_id} named {name}"))
    }

    /// The callback that a step prepared as its `nth`, counted from 1.
    pub fn nth(trace_id: &TraceId, invoke_count: u32, nth: u32) -> Self {
        Self::derived(&format!("callback {trace_id} {invoke_count} {nth}"))
    }

    fn derived(from: &str) -> Self {
        Self(hex(&Sha256::digest(from.as_bytes())[..16]))
    }
}

/// 128 bits from a cryptographic generator: every caller who knows a trace_id may ask `schedule`.
fn random_hex() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// `bytes` as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_identifiers_differ_and_read_back() {
        let id = TraceId::random();
        assert_ne!(id, TraceId::random());
        assert_eq!(TraceId::parse(id.as_str()).unwrap(), id);
    }

    #[test]
    fn tokens_of_runs_alone_are_known_as_such() {
        let first = LeaseToken::random_alone();
        let next = first.next_alone();
        assert!(first.is_alone() && next.is_alone());
        assert_ne!(first, next);
        assert_eq!(first.next_alone(), next);
        assert!(LeaseToken::parse(next.as_str()).is_ok());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "x", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef0"] {
            assert!(TraceId::parse(text).is_err(), "{text}");
        }
    }
}
