//! Builds a host's engine from the settings, in the same way for the server and for the functions.

use std::sync::Arc;

use bk_plugin_core::clock::Clock;
use bk_plugin_engine::callback_token::{CallbackKeys, InvalidKey};
use bk_plugin_engine::metered_store::MeteredStore;
use bk_plugin_engine::{Engine, EngineParts};
use bk_plugin_kit::runtime::Registry;
use secrecy::{ExposeSecret, SecretString};

use super::Settings;
use crate::finish_callback_client::HttpFinishCallbackClient;

/// What a host provides besides the settings.
pub struct EngineHost {
    /// The versions.
    pub registry: Arc<Registry>,
    /// The table and the queue.
    pub store: Arc<MeteredStore>,
    /// The time of the store.
    pub clock: Arc<dyn Clock>,
    /// The app secret, from which the keys of callback tokens are derived.
    pub app_secret: SecretString,
    /// The beginning of callback URLs, without `/callback/`.
    pub callback_base: String,
    /// Posts finish callbacks: [`Settings::finish_callback_client`].
    pub finish_callbacks: HttpFinishCallbackClient,
}

impl Settings {
    /// Builds the engine of a host.
    ///
    /// # Errors
    ///
    /// If a key in BK_PLUGIN_CALLBACK_KEY is not valid.
    pub fn engine(&self, host: EngineHost) -> Result<Engine, InvalidKey> {
        let own: Vec<&str> = self.callback_keys.iter().map(ExposeSecret::expose_secret).collect();
        let keys = CallbackKeys::new(host.app_secret.expose_secret(), &own, self.callback_lifetime)?;
        Ok(Engine::new(EngineParts {
            registry: host.registry,
            table: host.store.clone(),
            queue: host.store,
            clock: host.clock,
            finish_callbacks: Arc::new(host.finish_callbacks),
            keys: Arc::new(keys),
            callback_base: host.callback_base,
            limits: self.limits,
        }))
    }

    /// The client that posts finish callbacks; with `loopback` it may post to this machine's loopback addresses, too.
    pub fn finish_callback_client(&self, loopback: bool) -> HttpFinishCallbackClient {
        let destinations = self.destinations.clone();
        let destinations = if loopback { destinations.and_loopback() } else { destinations };
        HttpFinishCallbackClient::new(destinations, self.authorities.clone())
    }
}
