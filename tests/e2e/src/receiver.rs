//! A receiver of finish callbacks.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use tokio::net::TcpListener;

/// A calling system that receives finish callbacks.
#[derive(Clone)]
pub(crate) struct Receiver {
    base_url: String,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let paths = Arc::<Mutex<Vec<String>>>::default();
        let receive = |State(paths): State<Arc<Mutex<Vec<String>>>>, uri: Uri| async move {
            paths.lock().unwrap().push(uri.path().to_owned());
            "{\"result\": true}"
        };
        let router = Router::new().fallback(receive).with_state(Arc::clone(&paths));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, paths }
    }

    /// The context of an invocation that posts its finish callback to `path`.
    pub(crate) fn context(&self, path: &str) -> serde_json::Value {
        let url = format!("{}{path}", self.base_url);
        serde_json::json!({ "plugin_callback_info": { "url": url, "data": { "from": "e2e" } } })
    }

    /// Number of finish callbacks received at `path`.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.paths.lock().unwrap().iter().filter(|told| *told == path).count()
    }
}
