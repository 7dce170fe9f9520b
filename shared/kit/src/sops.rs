//! The context that bk-sops and similar systems pass in every call, as ready types.

use bk_plugin_core::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The context fields of 标准运维 (bk-sops): use it as it is, or `#[serde(flatten)]` it into your own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SopsContext {
    /// 当前任务所属标准运维项目 ID
    pub project_id: i64,
    /// 当前任务所属标准运维项目名
    pub project_name: String,
    /// 当前任务所属 CMDB 业务 ID
    pub bk_biz_id: i64,
    /// 当前任务所属 CMDB 业务名
    pub bk_biz_name: String,
    /// 当前任务操作者（点击开始按钮的人）
    pub operator: String,
    /// 当前任务执行人（调用第三方系统 API 使用的身份）
    pub executor: String,
    /// 当前任务 ID
    pub task_id: i64,
    /// 当前任务名
    pub task_name: String,
}

/// `plugin_callback_info`: where the calling system wants to be told of the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PluginCallbackModel", description = "")]
pub struct PluginCallbackInfo {
    /// The URL that is posted to.
    #[schemars(description = "")]
    pub url: String,
    /// The JSON object that is posted.
    #[schemars(description = "")]
    pub data: JsonObject,
}
