//! Everything a version's file needs: `use bk_plugin_kit::prelude::*;`

pub use bk_plugin_core::JsonObject;
pub use bk_plugin_core::caller::Caller;
pub use bk_plugin_core::ids::CallbackId;
pub use bk_plugin_core::record::State;
pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
pub use serde_json::Value;

pub use crate::context::Context;
pub use crate::error::{Error, Result, fail, unexpected};
pub use crate::event::{Callback, Event, PreparedCallback};
pub use crate::next::{CallbackWait, Next, secs};
pub use crate::plugin::{Empty, Meta, Plugin};
pub use crate::project::Project;
pub use crate::sops::{PluginCallbackInfo, SopsContext};
