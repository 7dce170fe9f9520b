//! The plugin that the reference's transcripts were recorded with, in Rust.
//!
//! `tests/transcripts.rs` replays the transcripts against it. The versions do what the reference's versions
//! do, however odd. They are no examples of a well-written plugin; the project's own plugins are.

pub mod apis;
pub mod outputs;
pub mod plugins;

use bk_plugin_kit::prelude::*;

use crate::plugins::{
    v1_0_0, v1_1_0, v1_1_1, v1_1_2, v1_2_0, v1_3_0, v1_4_0, v1_5_0, v1_6_0, v1_6_1, v1_7_0, v1_8_0, v9_0_0,
};

/// The app id under which the transcripts were recorded.
pub const APP_CODE: &str = "bk-plugin-demo";

/// Its secret: the tokens in the transcripts can be opened with it.
pub const APP_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123";

/// The app that some transcripts limit to scopes, and its limits.
pub fn scoped_project() -> Project {
    project().allow_scope("bk_sops", "project", ["1", "2"])
}

/// The reference's name for the state in which a step runs.
pub fn state_name(event: &Event) -> &'static str {
    match event {
        Event::Invoked => "EMPTY",
        Event::Polled => "POLL",
        Event::Called(_) | Event::TimedOut => "CALLBACK",
    }
}

/// The form of the versions that have a form.
pub const FORM: &str = include_str!("../forms/form.js");

/// The recorded plugin.
pub fn project() -> Project {
    Project::new("golden reference plugin 参考插件")
        .version(v1_0_0::Echo)
        .version(v1_1_0::FieldKinds)
        .version(v1_1_1::Bare)
        .version(v1_1_2::Forbid)
        .version(v1_2_0::Poll)
        .version(v1_3_0::CallbackPlugin)
        .version(v1_4_0::Err)
        .version(v1_5_0::Crash)
        .version(v1_6_0::FinishCallback)
        .version(v1_6_1::FinishCallbackRequired)
        .version(v1_7_0::NonJson)
        .version(v1_8_0::Odd)
        .version(v9_0_0::Bench)
        .plugin_api(apis::routes())
}
