//! The reference plugin's own routes under `/bk_plugin/plugin_api/`.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use bk_plugin_kit::prelude::*;
use serde_json::json;

use crate::{APP_CODE, APP_SECRET};

/// All routes.
pub fn routes() -> Router {
    Router::new()
        .route("/task_list/{biz_id}", get(task_list))
        .route("/echo/", get(info).post(created))
        .route("/boom/", get(boom))
        .route("/status/{code}/", get(status))
        .route("/plain/", get(async || Json(json!({"plain": true}))))
}

async fn task_list(Path(biz_id): Path<u64>) -> Json<Value> {
    Json(json!([{"text": "task 1", "value": 1, "biz_id": biz_id}, {"text": "task 2", "value": 2}]))
}

async fn created(
    caller: Caller,
    method: Method,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, info(caller, method, uri, headers, body).await)
}

/// Answers with everything that the route knows about the request.
async fn info(
    caller: Caller,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    let mut query = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        query.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = text(header::COOKIE)
        .split("; ")
        .find_map(|cookie| cookie.strip_prefix("bk_token="))
        .unwrap_or_default();
    let passed: BTreeMap<String, String> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("bk-plugin-") || *name == "x-bkapi-jwt")
        .map(|(name, value)| {
            let name = format!("HTTP_{}", name.as_str().to_uppercase().replace('-', "_"));
            (name, String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let auth_info =
        json!({"bk_app_code": APP_CODE, "bk_app_secret": APP_SECRET, "bk_token": token}).to_string();
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": query,
        "data": serde_json::from_slice(&body).unwrap_or_else(|_| json!({})),
        "content_type": text(header::CONTENT_TYPE),
        "user": caller.username.unwrap_or_default(),
        "token": token,
        "headers": passed,
        "files": {},
        "auth_info": auth_info,
    }))
}

async fn boom() -> Result<()> {
    unexpected!("boom in plugin api")
}

async fn status(Path(code): Path<u16>) -> (StatusCode, Json<Value>) {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({"code": code})))
}
