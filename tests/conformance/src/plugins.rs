//! The reference's versions, one file each.
#![allow(missing_docs)]

pub mod v1_0_0;
pub mod v1_1_0;
pub mod v1_1_1;
pub mod v1_1_2;
pub mod v1_2_0;
pub mod v1_3_0;
pub mod v1_4_0;
pub mod v1_5_0;
pub mod v1_6_0;
pub mod v1_6_1;
pub mod v1_7_0;
pub mod v1_8_0;
pub mod v9_0_0;

use bk_plugin_kit::prelude::*;

/// The context of most of them.
#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Executor {
    executor: String,
}

impl Default for Executor {
    fn default() -> Self {
        Self { executor: "nobody".to_owned() }
    }
}
