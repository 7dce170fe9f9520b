//! The token in a callback URL: it lets a third party wake one invocation.
//!
//! Tokens have the reference's format, Fernet over `callback_id:trace_id`, so that callback URLs handed out by a Python
//! deployment of the same plugin still work. The reference's key has 64 bits for signing and as many for encryption;
//! tokens are minted with a stronger key, and those minted with the reference's key are accepted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bk_plugin_core::clock::{Clock, Timestamp};
use bk_plugin_core::ids::{CallbackId, TraceId, hex};
use bk_plugin_kit::runtime::StepHost;
use fernet::Fernet;
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

/// The keys that mint and open tokens.
pub struct CallbackKeys {
    /// The first mints; all open.
    keys: Vec<Fernet>,
    lifetime: Duration,
}

impl fmt::Debug for CallbackKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackKeys").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// One of the operator's own keys is not a valid key.
#[derive(Debug, thiserror::Error)]
#[error(
    "key {position} is not 32 bytes in URL-safe base64 (make one with `openssl rand -base64 32 | tr +/ -_`)"
)]
pub struct InvalidKey {
    /// The position of the key among the operator's own, counted from 1.
    pub position: usize,
}

/// A token that was not minted with one of the keys, was changed, or is too old.
#[derive(Debug, thiserror::Error)]
#[error("invalid token")]
pub struct InvalidToken;

/// The content of an authenticated token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedToken {
    /// The prepared callback.
    pub callback_id: CallbackId,
    /// The invocation that prepared it.
    pub trace_id: TraceId,
    /// Whether the token is so young that the step that prepared it may still be running.
    pub young: bool,
}

impl CallbackKeys {
    /// The operator's own keys (`own`, each 32 bytes in URL-safe base64), then keys derived from the app secret. The
    /// first key mints. Tokens are accepted for `lifetime`.
    pub fn new(app_secret: &str, own: &[&str], lifetime: Duration) -> Result<Self, InvalidKey> {
        let mut keys = Vec::with_capacity(own.len() + 2);
        for (index, key) in own.iter().enumerate() {
            keys.push(Fernet::new(key).ok_or(InvalidKey { position: index + 1 })?);
        }
        keys.extend(Fernet::new(&derived_key(app_secret)));
        keys.extend(Fernet::new(&reference_key(app_secret)));
        Ok(Self { keys, lifetime })
    }

    /// Mints a token for one prepared callback.
    pub fn mint(&self, callback_id: &CallbackId, trace_id: &TraceId, now: Timestamp) -> String {
        self.keys[0].encrypt_at_time(format!("{callback_id}:{trace_id}").as_bytes(), now.as_secs())
    }

    /// Opens a token. `young` is the longest time that a first step and the writing of its result may take.
    pub fn open(&self, token: &str, now: Timestamp, young: Duration) -> Result<OpenedToken, InvalidToken> {
        let text = self.keys.iter().find_map(|key| decrypt(key, token)).ok_or(InvalidToken)?;
        // A token from the future was minted by a process whose clock is ahead: it has no age yet.
        let age = now.since(minted_at(token).ok_or(InvalidToken)?);
        if age >= self.lifetime + CLOCKS_DIFFER {
            return Err(InvalidToken);
        }
        let text = String::from_utf8(text).map_err(|_| InvalidToken)?;
        let (callback_id, trace_id) = text.split_once(':').ok_or(InvalidToken)?;
        Ok(OpenedToken {
            callback_id: CallbackId::parse(callback_id).map_err(|_| InvalidToken)?,
            trace_id: TraceId::parse(trace_id).map_err(|_| InvalidToken)?,
            young: age <= young,
        })
    }
}

/// How far the clock of a process that minted a token may be behind this one's: tokens are accepted for longer by so
/// much.
const CLOCKS_DIFFER: Duration = Duration::from_hours(1);

/// The content of a token that this key minted, whenever that was.
fn decrypt(key: &Fernet, token: &str) -> Option<Vec<u8>> {
    // Fernet refuses tokens that are younger than the present, so here it is the end of time, less Fernet's minute.
    const LATEST: u64 = u64::MAX - 60;
    key.decrypt_at_time(token, None, LATEST).ok()
}

/// When an authentic token was minted: after a byte for the version, the seconds since 1970.
fn minted_at(token: &str) -> Option<Timestamp> {
    let bytes = URL_SAFE.decode(token).ok()?;
    let seconds = u64::from_be_bytes(*bytes.get(1..)?.first_chunk()?);
    Some(Timestamp::from_millis(0) + Duration::from_secs(seconds))
}

/// HKDF-SHA256 over the secret: 256 bits, half to sign and half to encrypt.
fn derived_key(app_secret: &str) -> String {
    let mut key = [0_u8; 32];
    Hkdf::<Sha256>::new(None, app_secret.as_bytes())
        .expand(b"bk-plugin callback token 1", &mut key)
        .expect("32 bytes are a length HKDF-SHA256 can give");
    URL_SAFE.encode(key)
}

/// The reference's key: the first 32 characters of the hexadecimal SHA-256 of the secret.
fn reference_key(app_secret: &str) -> String {
    let digest = hex(&Sha256::digest(app_secret.as_bytes()));
    URL_SAFE.encode(&digest.as_bytes()[..32])
}

/// Prepares callbacks: mints their tokens and makes their URLs.
pub struct CallbackUrls {
    keys: Arc<CallbackKeys>,
    clock: Arc<dyn Clock>,
    /// Everything before `/callback/<token>/`.
    base: String,
}

impl CallbackUrls {
    /// `base` is everything before `/callback/<token>/`: `<public URL>/bk_plugin`, or behind BlueKing's
    /// gateway `<callback host>/<stage>`.
    pub fn new(keys: Arc<CallbackKeys>, clock: Arc<dyn Clock>, base: &str) -> Self {
        Self { keys, clock, base: base.trim_end_matches('/').to_owned() }
    }
}

impl StepHost for CallbackUrls {
    fn callback_url(&self, trace_id: &TraceId, id: &CallbackId) -> String {
        let token = self.keys.mint(id, trace_id, self.clock.now());
        format!("{}/callback/{token}/", self.base)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123";
    const HOUR: Duration = Duration::from_hours(1);
    const NOW: Timestamp = Timestamp::from_millis(1_795_378_100_000);

    fn keys(own: &[&str]) -> CallbackKeys {
        CallbackKeys::new(SECRET, own, 24 * HOUR).unwrap()
    }

    #[test]
    fn a_minted_token_opens_and_ages() {
        let (callback_id, trace_id) = (CallbackId::random(), TraceId::random());
        let token = keys(&[]).mint(&callback_id, &trace_id, NOW);
        let opened = keys(&[]).open(&token, NOW + HOUR / 2, HOUR).unwrap();
        assert_eq!(opened, OpenedToken { callback_id, trace_id, young: true });
        assert!(!keys(&[]).open(&token, NOW + 2 * HOUR, HOUR).unwrap().young);
        assert!(keys(&[]).open(&token, NOW + 25 * HOUR, HOUR).is_err(), "expired");
    }

    /// Clocks of processes differ, and a machine's clock may be set while it is down.
    #[test]
    fn a_clock_that_is_an_hour_off_refuses_no_token() {
        let token = keys(&[]).mint(&CallbackId::random(), &TraceId::random(), NOW + HOUR);
        let opened = keys(&[]).open(&token, NOW, HOUR).unwrap();
        assert!(opened.young, "the step that prepared it may still be running");
        let almost_an_hour = Duration::from_secs(3599);
        assert!(
            keys(&[]).open(&token, NOW + 25 * HOUR + almost_an_hour, HOUR).is_ok(),
            "its lifetime and an hour"
        );
        assert!(keys(&[]).open(&token, NOW + 26 * HOUR, HOUR).is_err());
        for odd in [0, u64::MAX] {
            let token = keys(&[]).keys[0].encrypt_at_time(b"a:b", odd);
            assert!(keys(&[]).open(&token, NOW, HOUR).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_token_of_the_reference_opens() {
        // Recorded from the reference with this secret at 2026-11-23 04:06:40 +08:00.
        let token = include_str!("../tests/data/reference_callback_token.txt").trim();
        let opened = keys(&[]).open(token, NOW, HOUR).unwrap();
        assert_eq!(opened.trace_id.as_str().len(), 32);
    }

    #[test]
    fn foreign_changed_and_odd_tokens_are_refused() {
        let (callback_id, trace_id) = (CallbackId::random(), TraceId::random());
        let token = keys(&[]).mint(&callback_id, &trace_id, NOW);
        let other = CallbackKeys::new("another secret", &[], HOUR).unwrap();
        assert!(other.open(&token, NOW, HOUR).is_err());
        let flipped = token.replacen(&token[30..31], if &token[30..31] == "A" { "B" } else { "A" }, 1);
        for bad in [flipped.as_str(), "", "garbage", "gAAAAA", &token[..token.len() - 4]] {
            assert!(keys(&[]).open(bad, NOW, HOUR).is_err(), "{bad}");
        }
        let three_parts = keys(&[]).keys[0].encrypt_at_time(b"a:b:c", NOW.as_secs());
        assert!(keys(&[]).open(&three_parts, NOW, HOUR).is_err());
    }

    #[test]
    fn keys_rotate() {
        let (old, new) = (Fernet::generate_key(), Fernet::generate_key());
        let token = keys(&[&old]).mint(&CallbackId::random(), &TraceId::random(), NOW);
        assert!(keys(&[&new, &old]).open(&token, NOW, HOUR).is_ok());
        assert!(keys(&[&new]).open(&token, NOW, HOUR).is_err());
        assert_eq!(CallbackKeys::new(SECRET, &[&new, "short"], HOUR).unwrap_err().position, 2);
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", keys(&[])).to_lowercase().contains("key:"));
    }
}
