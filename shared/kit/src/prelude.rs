//! Everything a version's file needs: `use bk_plugin_kit::prelude::*;`

pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
pub use serde_json::Value;

pub use crate::{
    Callback, CallbackId, CallbackWait, Caller, Context, Empty, Error, Event, JsonObject, Meta, Next, OrFail,
    Plugin, PreparedCallback, Project, Result, SopsContext, fail, secs, unexpected,
};
