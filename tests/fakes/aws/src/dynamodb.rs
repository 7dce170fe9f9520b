//! DynamoDB: `dynoxide` in memory, with the test's clock, behind a port of its own.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bk_plugin_core::clock::Clock;
use dynoxide::Database;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

pub(crate) struct DynamoDb {
    database: Database,
    // The server of `dynoxide` can be called only through a socket. It is used because it does more than the
    // database: it refuses requests that serde would accept, and has DynamoDB's error messages.
    url: String,
    client: reqwest::Client,
    task: AbortHandle,
}

struct DatabaseClock(Arc<dyn Clock>);

impl dynoxide::storage_backend::Clock for DatabaseClock {
    fn now_unix_secs(&self) -> u64 {
        self.0.now().as_secs()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        std::time::Duration::from_millis(self.0.now().as_millis().unsigned_abs()).as_secs_f64()
    }
}

impl DynamoDb {
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        let database = Database::memory_with_clock(Arc::new(DatabaseClock(clock))).unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database.clone())).abort_handle();
        // An error means that a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Ignores a proxy in the environment: it is not for the loopback.
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { database, url, client, task }
    }

    pub(crate) async fn answer(&self, headers: &HeaderMap, body: Bytes) -> Response {
        let mut headers = headers.clone();
        for of_the_connection in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(of_the_connection);
        }
        let sent = self.client.post(&self.url).headers(headers).body(body).send().await.unwrap();
        let (status, headers) = (sent.status(), sent.headers().clone());
        let mut response = Response::new(Body::from(sent.bytes().await.unwrap()));
        *response.status_mut() = StatusCode::from_u16(status.as_u16()).unwrap();
        *response.headers_mut() = headers;
        response
    }

    pub(crate) fn create_table(&self, name: &str) {
        let table = json!({
            "TableName": name,
            "KeySchema": [{"AttributeName": "trace_id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "trace_id", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
        });
        self.database.create_table(request(table)).unwrap();
        let expiry = json!({
            "TableName": name,
            "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": true},
        });
        self.database.update_time_to_live(request(expiry)).unwrap();
    }

    pub(crate) fn items(&self, table: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut start: Option<HashMap<_, _>> = None;
        loop {
            let mut page = request::<dynoxide::actions::scan::ScanRequest>(json!({"TableName": table}));
            page.exclusive_start_key = start;
            let page = self.database.scan(page).unwrap();
            items.extend(page.items.into_iter().flatten().map(|item| serde_json::to_value(item).unwrap()));
            start = page.last_evaluated_key;
            if start.is_none() {
                return items;
            }
        }
    }

    pub(crate) fn sweep_expired(&self) -> usize {
        self.database.sweep_ttl().unwrap()
    }
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn request<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}
