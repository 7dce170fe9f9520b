//! The plugin's own routes under `/bk_plugin/plugin_api/`: the data that forms show.

pub mod task_list;

use axum::Router;
use axum::routing::get;

/// All of them.
pub fn routes() -> Router {
    Router::new().route("/task_list/{biz_id}", get(task_list::get))
}
