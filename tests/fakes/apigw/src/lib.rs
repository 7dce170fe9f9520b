//! BlueKing's API gateway in the process of a test, limited to the registration of a plugin: the API
//! `bk-apigateway`, v2, and the only request of v1 that is used.
//!
//! [`LocalApigw`] serves it on a port of the loopback. It is as strict as the gateway: the calling app must
//! be known and related to the gateway in its request, bodies must have the fields that the gateway's
//! serializers require, and a version is created only once and only if there are resources. It keeps every
//! request, and answers with an error on demand.
#![allow(clippy::unwrap_used, reason = "what does not work here fails the test that called it")]
#![allow(clippy::missing_panics_doc, reason = "see above")]

mod answer;
mod gateway;
mod jwt;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::Value;

use crate::answer::Answer;
use crate::gateway::Gateway;

/// The gateway's API. It runs until the test's runtime ends.
#[derive(Debug, Clone)]
pub struct LocalApigw {
    address: SocketAddr,
    state: Arc<Mutex<Everything>>,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST.
    pub method: String,
    /// The path, without the prefix of the API.
    pub path: String,
    /// The query.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body, as JSON.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Everything {
    /// Secrets of apps, by their codes.
    apps: HashMap<String, String>,
    gateways: BTreeMap<String, Gateway>,
    requests: Vec<Request>,
    instead: Vec<Instead>,
    without_v1: bool,
}

/// The answer to the next request to a path, instead of the usual one.
#[derive(Debug)]
struct Instead {
    method: Method,
    path: String,
    status: u16,
    body: Value,
    /// Whether the request takes effect all the same, as if only its answer were lost.
    done: bool,
}

/// The key of every gateway.
pub const PUBLIC_KEY: &str = include_str!("../data/gateway_test_key.pub.pem");

/// The private key that belongs to [`PUBLIC_KEY`], as PKCS #8.
pub const PRIVATE_KEY: &[u8] = include_bytes!("../data/gateway_test_key.pk8");

/// The public key of a gateway before its key was rotated.
pub const FORMER_PUBLIC_KEY: &str = include_str!("../data/gateway_former_key.pub.pem");

/// The folder of these keys, of a private certificate authority (`test_authority.pem`), and of a certificate that it
/// signed for `localhost` (`test_localhost.pem`, `test_localhost.pk8`). It ends in a slash.
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/");

const API: &str = "/api/bk-apigateway/prod";

impl LocalApigw {
    /// Starts the API. It knows this app.
    pub async fn start(app_code: &str, app_secret: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        local.lock().apps.insert(app_code.to_owned(), app_secret.to_owned());
        let routes = Router::new().fallback(serve).with_state(local.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        local
    }

    /// The value for BK_API_URL_TMPL.
    pub fn url_template(&self) -> String {
        format!("http://{}/api/{{api_name}}", self.address)
    }

    /// Makes another app the owner of this gateway.
    pub fn give_to_another_app(&self, gateway: &str) {
        self.lock().gateways.insert(gateway.to_owned(), Gateway::of("another"));
    }

    /// Removes the older API, v1.
    pub fn give_up_v1(&self) {
        self.lock().without_v1 = true;
    }

    /// Answers the next request of this kind with this error; the request has no effect.
    pub fn refuse_next(&self, method: Method, path: &str, status: u16, body: Value) {
        self.instead(method, path, status, body, false);
    }

    /// Answers the next request of this kind with an error, although it takes effect.
    pub fn lose_next_answer(&self, method: Method, path: &str) {
        self.instead(method, path, 502, Value::Null, true);
    }

    fn instead(&self, method: Method, path: &str, status: u16, body: Value, done: bool) {
        self.lock().instead.push(Instead { method, path: path.to_owned(), status, body, done });
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// Takes the requests since the last call, as `METHOD path`.
    pub fn take_calls(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.lock().requests);
        requests.into_iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    /// The versions of a gateway, the oldest first.
    pub fn versions(&self, gateway: &str) -> Vec<String> {
        self.lock().gateways[gateway].versions.clone()
    }

    /// The version that is released on a stage.
    pub fn released(&self, gateway: &str, stage: &str) -> Option<String> {
        self.lock().gateways[gateway].released.get(stage).cloned()
    }

    /// Releases a version on a stage, as a person does in the console. The version must exist.
    pub fn release_by_hand(&self, gateway: &str, stage: &str, version: &str) {
        let mut everything = self.lock();
        let gateway = everything.gateways.get_mut(gateway).unwrap();
        gateway.released.insert(stage.to_owned(), version.to_owned());
    }

    /// The JWT that a gateway adds to this app's calls, in the header X-Bkapi-JWT.
    pub fn jwt(&self, gateway: &str, app_code: &str) -> String {
        jwt::signed(gateway, app_code)
    }

    fn lock(&self) -> MutexGuard<'_, Everything> {
        self.state.lock().unwrap()
    }
}

async fn serve(
    State(local): State<LocalApigw>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut state = local.lock();
    let Some(path) = uri.path().strip_prefix(API) else {
        return Answer::gateway_error(404, 1_640_401, "API not found").into();
    };
    let request = Request {
        method: method.to_string(),
        path: path.to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    state.requests.push(request.clone());
    let instead = state.instead.iter().position(|instead| instead.method == method && path == instead.path);
    let instead = instead.map(|at| state.instead.remove(at));
    if let Some(instead) = instead.as_ref().filter(|instead| !instead.done) {
        return Answer { status: instead.status, body: instead.body.clone() }.into();
    }
    let answer = state.answer(&request);
    instead.map_or(answer, |instead| Answer { status: instead.status, body: instead.body }).into()
}

impl Everything {
    fn answer(&mut self, request: &Request) -> Answer {
        let app = match self.app(&request.headers) {
            Ok(app) => app,
            Err(refused) => return refused,
        };
        let segments: Vec<&str> = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
        let method = request.method.as_str();
        match (method, segments.as_slice()) {
            ("GET", ["api", "v1", "apis", gateway, "stages", "with-resource-version"])
                if !self.without_v1 =>
            {
                self.related(&app, gateway)
                    .map_or_else(|refused| refused, |gateway| gateway.stages_with_version())
            }
            ("POST", ["api", "v2", "sync", "gateways", name]) => {
                let gateway = self.gateways.entry((*name).to_owned()).or_insert_with(|| Gateway::of(&app));
                if gateway.app_code == app { gateway::sync(&request.body) } else { Answer::not_related() }
            }
            (method, ["api", "v2", "sync", "gateways", gateway, rest @ ..]) => {
                match self.related(&app, gateway) {
                    Ok(gateway) => gateway.answer(method, rest, &request.query, &request.body),
                    Err(refused) => refused,
                }
            }
            _ => Answer::gateway_error(404, 1_640_401, "API not found"),
        }
    }

    /// The calling app. Checks its credentials and its tenant.
    fn app(&self, headers: &HeaderMap) -> Result<String, Answer> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let unknown = || Answer::gateway_error(401, 1_640_101, "app code or app secret is incorrect");
        let who: Value = header("x-bkapi-authorization")
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(unknown)?;
        if header("x-bk-tenant-id").is_none_or(str::is_empty) {
            return Err(Answer::gateway_error(400, 1_640_001, "X-Bk-Tenant-Id is required"));
        }
        let (code, secret) = (who["bk_app_code"].as_str(), who["bk_app_secret"].as_str());
        match code.and_then(|code| Some((code, self.apps.get(code)?))) {
            Some((code, known)) if secret == Some(known) => Ok(code.to_owned()),
            _ => Err(unknown()),
        }
    }

    fn related(&mut self, app: &str, gateway: &str) -> Result<&mut Gateway, Answer> {
        match self.gateways.get_mut(gateway) {
            Some(gateway) if gateway.app_code == app => Ok(gateway),
            Some(_) => Err(Answer::not_related()),
            None => Err(Answer::error(404, "NOT_FOUND", "Not Found")),
        }
    }
}
