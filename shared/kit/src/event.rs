//! Why a step is run, and the callbacks that a plugin prepares and is given.

use std::sync::Arc;

use bk_plugin_core::ids::CallbackId;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Result, unexpected, without_values};

/// Why `execute` is run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The plugin was invoked: the first step (the reference's `State.EMPTY`).
    Invoked,
    /// The interval is over (`State.POLL`).
    Polled,
    /// A prepared callback was called (`State.CALLBACK`).
    Called(Callback),
    /// No callback came in the time given to [`Next::callback_or_run`](crate::next::Next::callback_or_run).
    TimedOut,
}

/// A call to a callback URL. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Callback {
    id: CallbackId,
    data: Arc<Value>,
}

impl Callback {
    /// The call of the callback with this id, with this body. The engine makes it.
    #[doc(hidden)]
    pub fn new(id: CallbackId, data: Value) -> Self {
        Self { id, data: Arc::new(data) }
    }

    /// Which of the prepared callbacks was called.
    pub fn id(&self) -> &CallbackId {
        &self.id
    }

    /// Whether the prepared callback with this id was called; an `Option` of an id, as a plugin keeps it in
    /// its storage, will do.
    ///
    /// ```
    /// # use crate::prelude::*;
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Storage {
    ///     job: Option<CallbackId>,
    /// }
    ///
    /// fn is_of_the_job(callback: &Callback, storage: &Storage) -> bool {
    ///     callback.is(&storage.job)
    /// }
    /// ```
    pub fn is<'a>(&self, prepared: impl Into<Option<&'a CallbackId>>) -> bool {
        prepared.into() == Some(&self.id)
    }

    /// The body of the call: any JSON value.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The body of the call as the author's own type. The error does not repeat what was in the body.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(self.data.as_ref()).or_else(|error| {
            unexpected(format!("the callback's body does not fit: {}", without_values(&error)))
        })
    }
}

/// A callback that a third party can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedCallback {
    /// Names the callback: [`Callback::id`] when it is called.
    pub id: CallbackId,
    /// The URL to POST any JSON to. It may be called many times; every call is one step. The URL is a
    /// credential: whoever has it can call.
    pub url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_knows_which_was_prepared() {
        let (job, cancel) = (CallbackId::random(), CallbackId::random());
        let callback = Callback::new(job.clone(), Value::Null);
        assert!(callback.is(&job) && callback.is(&Some(job)));
        assert!(!callback.is(&cancel) && !callback.is(&Some(cancel)) && !callback.is(&None));
    }
}
