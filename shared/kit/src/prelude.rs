//! Everything a version's file needs: `use bk_plugin_kit::prelude::*;`

pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
pub use serde_json::Value;

pub use crate::JsonObject;
pub use crate::caller::Caller;
pub use crate::context::{Context, PreparedCallback};
pub use crate::error::{Error, Result, fail, unexpected};
pub use crate::ids::CallbackId;
pub use crate::plugin::{Callback, CallbackWait, Empty, Event, Meta, Next, Plugin, secs};
pub use crate::project::Project;
pub use crate::record::State;
pub use crate::sops::{PluginCallbackInfo, SopsContext};
