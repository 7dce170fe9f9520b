//! A receiver of finish callbacks that answers as the recorder's receiver did.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

/// A finish callback.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(super) method: String,
    path: String,
    pub(super) content_type: String,
    pub(super) body: Value,
}

type Posts = Arc<Mutex<Vec<Post>>>;

pub(crate) struct Receiver {
    base_url: String,
    posts: Posts,
}

impl Receiver {
    /// The target of a redirect.
    pub(super) const REDIRECTED: &str = "/ok/after-redirect";

    /// Starts a receiver on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let posts = Posts::default();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&posts));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, posts }
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The posts that were received at a path.
    pub(super) fn at(&self, path: &str) -> Vec<Post> {
        self.posts.lock().unwrap().iter().filter(|post| post.path == path).cloned().collect()
    }
}

async fn receive(
    State(posts): State<Posts>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let is_first = {
        let mut posts = posts.lock().unwrap();
        let is_first = !posts.iter().any(|post| post.path == path);
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        posts.push(Post {
            method: method.to_string(),
            content_type: content_type.to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            path: path.clone(),
        });
        is_first
    };
    let json = |status: StatusCode, text: &'static str| {
        (status, [(CONTENT_TYPE, "application/json")], text).into_response()
    };
    match path.split('/').nth(1).unwrap_or_default() {
        "500" => json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"result": true}"#),
        "once500" if is_first => json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"result": true}"#),
        "false" => json(StatusCode::OK, r#"{"result": false}"#),
        "noresult" => json(StatusCode::OK, "{}"),
        "204" => StatusCode::NO_CONTENT.into_response(),
        "redirect" => (StatusCode::FOUND, [(LOCATION, Receiver::REDIRECTED)]).into_response(),
        _ => json(StatusCode::OK, r#"{"result": true}"#),
    }
}
