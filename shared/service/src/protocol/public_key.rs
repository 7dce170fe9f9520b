//! The public key of BlueKing's gateway: known from the start, or fetched from a source, kept, and fetched again
//! when a JWT does not fit it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bk_plugin_core::clock::Timestamp;
use futures::FutureExt as _;
use jsonwebtoken::DecodingKey;
use tokio::sync::watch;
use tokio::time::timeout;

/// Where the gateway's public key comes from.
#[async_trait]
pub trait PublicKeySource: Send + Sync + fmt::Debug {
    /// The current key: PEM, or the base64 of it.
    async fn fetch(&self) -> Result<String, PublicKeyError>;
}

/// Why a key could not be fetched, as text for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PublicKeyError(pub String);

/// The text is not a valid public key.
#[derive(Debug, thiserror::Error)]
#[error("is not an RSA public key in PEM (or the base64 of one)")]
pub struct InvalidPublicKey;

/// A file that may be replaced, such as one that a cluster mounts.
#[derive(Debug)]
pub(super) struct PublicKeyFile(pub(super) PathBuf);

#[async_trait]
impl PublicKeySource for PublicKeyFile {
    async fn fetch(&self) -> Result<String, PublicKeyError> {
        let read = tokio::fs::read_to_string(&self.0).await;
        read.map_err(|error| PublicKeyError(format!("{}: {error}", self.0.display())))
    }
}

/// A public key.
pub(super) struct PublicKey {
    pem: Vec<u8>,
    pub(super) decoding: DecodingKey,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl PublicKey {
    /// Reads PEM, or the base64 of it, which fits into a line.
    pub(super) fn parse(text: &str) -> Result<Arc<Self>, InvalidPublicKey> {
        let pem = STANDARD.decode(text.trim()).unwrap_or_else(|_| text.trim().as_bytes().to_vec());
        let decoding = DecodingKey::from_rsa_pem(&pem).map_err(|_| InvalidPublicKey)?;
        Ok(Arc::new(Self { pem, decoding }))
    }
}

/// The latest key, and where a newer one comes from.
pub(super) struct LatestKey {
    source: Option<Arc<dyn PublicKeySource>>,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    key: Option<Arc<PublicKey>>,
    /// When the last fetch began.
    fetched_at: Option<Timestamp>,
    is_fetching: bool,
}

/// Shortest time between two fetches, whatever callers send.
const BETWEEN_FETCHES: Duration = Duration::from_mins(1);

/// The same while there is no key yet: until then every caller is refused.
const UNTIL_THE_FIRST: Duration = Duration::from_secs(2);

/// Time limit of a fetch, and so the longest time a caller waits for one.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

impl LatestKey {
    /// A key, if it is known already, and the source of newer ones, if the key may change.
    pub(super) fn new(key: Option<Arc<PublicKey>>, source: Option<Arc<dyn PublicKeySource>>) -> Self {
        Self { source, state: watch::Sender::new(State { key, ..State::default() }) }
    }

    /// The key, if one is known.
    pub(super) fn get(&self) -> Option<Arc<PublicKey>> {
        self.state.borrow().key.clone()
    }

    /// Begins to fetch the key, unless a fetch began within the last minute (within the last two seconds while
    /// there is no key).
    ///
    /// The fetch runs in a task of its own: a caller that hangs up must not end what other callers wait for.
    pub(super) fn fetch(&self, now: Timestamp) {
        let Some(source) = &self.source else { return };
        let begun = self.state.send_if_modified(|state| {
            // A time later than `now` comes from a clock that has since been set back.
            let pause = if state.key.is_some() { BETWEEN_FETCHES } else { UNTIL_THE_FIRST };
            let lately = state.fetched_at.is_some_and(|at| at <= now && now.since(at) < pause);
            if lately || state.is_fetching {
                return false;
            }
            *state = State { key: state.key.take(), fetched_at: Some(now), is_fetching: true };
            true
        });
        if begun {
            tokio::spawn(fetch(Arc::clone(source), self.state.clone()));
        }
    }

    /// The key after a fetch; the key that is known, at once, if it is too early for another fetch.
    pub(super) async fn newest(&self, now: Timestamp) -> Option<Arc<PublicKey>> {
        self.fetch(now);
        let mut state = self.state.subscribe();
        let fetched = state.wait_for(|state| !state.is_fetching).await.ok()?;
        fetched.key.clone()
    }
}

async fn fetch(source: Arc<dyn PublicKeySource>, state: watch::Sender<State>) {
    let fetched = match timeout(FETCH_TIMEOUT, AssertUnwindSafe(source.fetch()).catch_unwind()).await {
        Ok(Ok(Ok(text))) => PublicKey::parse(&text).map_err(|error| format!("what was fetched {error}")),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err("the source panicked".to_owned()),
        Err(_) => Err(format!("it took longer than {} s", FETCH_TIMEOUT.as_secs())),
    };
    state.send_modify(|state| {
        state.is_fetching = false;
        match fetched {
            Ok(key) if state.key.as_ref() == Some(&key) => {}
            Ok(key) => {
                tracing::info!("the gateway's public key was fetched");
                state.key = Some(key);
            }
            Err(error) => tracing::warn!(error, "the gateway's public key could not be fetched"),
        }
    });
}
