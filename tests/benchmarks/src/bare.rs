//! The peer of the echo benchmark: a bare axum route that parses and answers the same JSON.

use std::collections::HashMap;

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::Failure;

#[derive(Deserialize)]
struct Call {
    inputs: Inputs,
    #[allow(dead_code, reason = "parsed as the server parses it")]
    context: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Inputs {
    hello: String,
}

#[derive(Serialize)]
struct Answer {
    result: bool,
    data: Data,
    message: &'static str,
    trace_id: &'static str,
}

#[derive(Serialize)]
struct Data {
    outputs: Outputs,
    state: u8,
    err: Option<String>,
}

#[derive(Serialize)]
struct Outputs {
    world: String,
}

async fn echo(Json(call): Json<Call>) -> Json<Answer> {
    let data = Data { outputs: Outputs { world: call.inputs.hello }, state: 4, err: None };
    Json(Answer { result: true, data, message: "success", trace_id: "0123456789abcdef0123456789abcdef" })
}

/// Serves on 127.0.0.1 at PORT until it is killed.
pub(crate) async fn serve() -> Result<(), Failure> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let routes = Router::new()
        .route("/bk_plugin/invoke/1.0.0", post(echo))
        .route("/healthz", axum::routing::get(|| async {}));
    axum::serve(tokio::net::TcpListener::bind(("127.0.0.1", port)).await?, routes).await?;
    Ok(())
}
