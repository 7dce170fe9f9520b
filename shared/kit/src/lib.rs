//! What the author of a plugin writes with.
//!
//! A *version* of a plugin is a type that implements [`Plugin`]: it names its number and options ([`Meta`]), what its
//! users fill in (`Inputs`), and in the type of its [`Context`] what it puts out, what it keeps between its steps and
//! what it wants to know of the calling system. Its one function, `execute`, runs a step and returns what comes
//! [`Next`]: done, again after an interval, or again when a callback is called. [`Event`] says why a step is run; an
//! [`Error`] ends the invocation. A [`Project`] holds the versions, and is what a server or the Lambda functions run.
//!
//! A version's file imports all of this from the [`prelude`]:
//!
//! ```
//! use bk_plugin_kit::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Inputs {
//!     /// 从几开始倒数
//!     times: u32,
//! }
//!
//! #[derive(Default, Serialize, Deserialize, JsonSchema)]
//! pub struct Outputs {
//!     counted: Vec<u32>,
//! }
//!
//! pub struct CountDown;
//!
//! impl Plugin for CountDown {
//!     const META: Meta = Meta::version("1.1.0").desc("倒数");
//!     type Inputs = Inputs;
//!     type Context = Context<Outputs>;
//!
//!     async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
//!         let counted = &mut cx.outputs.edit().counted;
//!         let left = counted.last().map_or(inputs.times, |last| last - 1);
//!         counted.push(left);
//!         if left == 0 { Ok(Next::done()) } else { Ok(Next::poll(secs(1))) }
//!     }
//! }
//!
//! pub fn project() -> Project {
//!     Project::new("倒数").version(CountDown)
//! }
//! ```
#![deny(missing_docs)]

mod context;
mod error;
mod event;
mod finite;
mod from_json;
#[cfg(feature = "http")]
pub mod http;
mod make_project;
mod next;
mod plugin;
pub mod prelude;
mod project;
mod registry;
#[doc(hidden)]
pub mod runtime;
mod schema;
mod sops;
mod types;
mod validation;
mod version;
mod version_number;

pub use bk_plugin_core::JsonObject;
pub use bk_plugin_core::caller::Caller;
pub use bk_plugin_core::clock::Timestamp;
pub use bk_plugin_core::ids::{CallbackId, TraceId};

pub use crate::context::{Context, Output};
pub use crate::error::{Error, OrFail, Result};
pub use crate::event::{Callback, Event, PreparedCallback};
pub use crate::next::{CallbackWait, Next, secs};
pub use crate::plugin::{Meta, Plugin};
pub use crate::project::{Duplicate, Project, ProjectError, ProjectErrors};
pub use crate::sops::{PluginCallbackInfo, SopsContext};
pub use crate::types::{ContextInputs, Empty, Inputs, Outputs, Storage};
