//! Why a step is run, and the callbacks that a plugin hands out and is given.

use std::sync::Arc;

use bk_plugin_core::ids::{CallbackId, TraceId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::from_json::from_json;

/// Why `execute` is run.
#[derive(Debug, Clone)]
pub enum Event {
    /// The plugin was invoked: the first step (the reference's `State.EMPTY`).
    Invoked,
    /// The interval is over (`State.POLL`).
    Polled,
    /// A callback was called (`State.CALLBACK`).
    Called(Callback),
    /// No callback came in the time given to [`Next::callback_or_run`](crate::Next::callback_or_run).
    TimedOut,
}

/// A call to a callback URL. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Callback {
    trace_id: TraceId,
    id: CallbackId,
    data: Arc<Value>,
}

impl Callback {
    /// A call of a callback of this invocation. The engine makes it.
    #[doc(hidden)]
    pub fn new(trace_id: TraceId, id: CallbackId, data: Value) -> Self {
        Self { trace_id, id, data: Arc::new(data) }
    }

    /// Whether the callback with this name was called: the name given to
    /// [`Context::callback_url`](crate::Context::callback_url).
    pub fn is(&self, name: &str) -> bool {
        self.id == CallbackId::named(&self.trace_id, name)
    }

    /// Which callback was called: [`PreparedCallback::id`] of the one that was prepared.
    pub fn id(&self) -> &CallbackId {
        &self.id
    }

    /// The body of the call: any JSON value.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The body of the call as the author's own type. The error names the place in the body, and does not repeat what
    /// was there.
    #[track_caller]
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        // No closure: it would be the place of the error.
        match from_json(&self.data) {
            Ok(parsed) => Ok(parsed),
            Err(said) => Err(Error::unexpected(format!("the callback's body does not fit: {said}"))),
        }
    }
}

/// A callback that is told by its id, from [`Context::prepare_callback`](crate::Context::prepare_callback).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedCallback {
    /// Names the callback: [`Callback::id`] when it is called.
    pub id: CallbackId,
    /// The URL to POST any JSON to. It may be called many times; every call is one step. The URL is a credential: its
    /// holder can call.
    pub url: String,
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_callback_is_told_by_its_name() {
        let trace_id = TraceId::random();
        let call = Callback::new(trace_id.clone(), CallbackId::named(&trace_id, "job"), Value::Null);
        assert!(call.is("job") && !call.is("cancel"));
        let of_another = Callback::new(TraceId::random(), call.id().clone(), Value::Null);
        assert!(!of_another.is("job"), "a name is one of its invocation");
    }

    #[test]
    fn a_body_that_does_not_fit_is_said_by_its_place() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "read only")]
        struct Report {
            jobs: Vec<u8>,
        }
        let trace_id = TraceId::random();
        let call = |data| Callback::new(trace_id.clone(), CallbackId::random(), data);
        let said = call(json!({"jobs": [1, "hunter2"]})).parse::<Report>().unwrap_err().to_string();
        assert_eq!(said, "the callback's body does not fit: jobs[1]: invalid type: string, expected u8");
        assert!(call(json!(1)).parse::<Report>().unwrap_err().to_string().contains("fit: invalid type"));
    }
}
