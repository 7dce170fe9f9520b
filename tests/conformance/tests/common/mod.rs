//! A running service, and the tokens and JWTs for calls to it.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use fernet::Fernet;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA512, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The set-up of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For development: requires no JWT.
    Development,
    /// Behind BlueKing's gateway.
    Gateway,
    /// Behind the gateway, and the plugin limits an app to scopes.
    Scoped,
}

impl Mode {
    /// The variable that may hold the URL of a running service in this mode.
    fn url_variable(self) -> &'static str {
        match self {
            Self::Development => "BK_PLUGIN_CONFORMANCE_URL",
            Self::Gateway => "BK_PLUGIN_CONFORMANCE_GATEWAY_URL",
            Self::Scoped => "BK_PLUGIN_CONFORMANCE_SCOPED_URL",
        }
    }

    fn variables(self) -> &'static [(&'static str, &'static str)] {
        const GATEWAY: [(&str, &str); 4] = [
            ("BKPAAS_ENVIRONMENT", "prod"),
            ("BK_APIGW_NAME", "bp-demo"),
            ("BK_APIGW_PUBLIC_KEY", GATEWAY_PUBLIC_KEY),
            ("BK_API_URL_TMPL", "http://bkapi.example.com/api/{api_name}"),
        ];
        const SCOPED: [(&str, &str); 5] =
            [GATEWAY[0], GATEWAY[1], GATEWAY[2], GATEWAY[3], ("BK_PLUGIN_CONFORMANCE_SCOPED", "yes")];
        match self {
            Self::Development => &[("BKPAAS_ENVIRONMENT", "dev")],
            Self::Gateway => &GATEWAY,
            Self::Scoped => &SCOPED,
        }
    }
}

/// A service with the reference's plugin.
pub struct Running {
    /// The URL up to `/bk_plugin/`.
    pub base_url: String,
    _process: Option<(Process, tempfile::TempDir)>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the service on a free port, with a SQLite file. If the mode's variable is set, uses the service at
/// its URL instead. That service must have the app id and the secret of the recordings and, behind the
/// gateway, the gateway name `bp-demo` and the public key in `tests/fakes/apigw/data`.
pub async fn start(mode: Mode) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Ok(url) = std::env::var(mode.url_variable()) {
        return Running { base_url: url.trim_end_matches('/').to_owned(), _process: None };
    }
    start_on("sqlite:conformance.db", mode).await
}

/// Starts the service on a free port, with the store at this URL.
pub async fn start_on(store_url: &str, mode: Mode) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store_url = store_url.to_owned();
    tokio::task::spawn_blocking(move || start_process(&store_url, mode)).await.unwrap()
}

fn start_process(store_url: &str, mode: Mode) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_reference-plugins"))
        .current_dir(folder.path())
        .env("PORT", "0")
        .env("BK_PLUGIN_STORE_URL", store_url)
        .env("BK_PLUGIN_LOG", "info")
        .env_remove("TZ")
        .env_remove("BKPAAS_APP_ID")
        .env_remove("BKPAAS_APP_SECRET")
        .envs(mode.variables().iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    let base_url = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let address = line.split_once("serving http://")?.1;
            Some(format!("http://{}", address.split_once("/bk_plugin/")?.0))
        })
        .expect("the service says where it serves");
    // The service would block on a full pipe, so its output is read and dropped.
    std::thread::spawn(move || lines.for_each(drop));
    Running { base_url, _process: Some((process, folder)) }
}

/// A client that adds nothing to a request and follows no redirect.
pub fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.timeout(std::time::Duration::from_mins(1)).build().unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The reference's key: the first 32 characters of the hexadecimal SHA-256 of the secret.
fn fernet() -> Fernet {
    let digest = Sha256::digest(conformance::APP_SECRET);
    let hex = digest.iter().take(16).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    Fernet::new(&URL_SAFE.encode(hex)).unwrap()
}

/// Mints a callback token as the reference does, as if `age` seconds ago.
pub fn mint_token(text: &str, age: u64) -> String {
    fernet().encrypt_at_time(text.as_bytes(), now() - age)
}

/// The text in a token of the recordings; `None` if `token` is not such a token.
pub fn open_token(token: &str) -> Option<String> {
    String::from_utf8(fernet().decrypt(token).ok()?).ok()
}

/// The same JWT with an expiry `seconds` from now, signed with the tests' gateway key. `None` if `jwt` is not
/// a valid JWT.
pub fn renewed_jwt(jwt: &str, seconds: i64) -> Option<String> {
    let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let (header, claims, _) = (parts.next()??, parts.next()??, parts.next()?);
    let header: Value = serde_json::from_slice(&header).ok()?;
    let mut claims: Value = serde_json::from_slice(&claims).ok()?;
    let now = i64::try_from(now()).unwrap();
    claims["exp"] = json!(now + seconds);
    claims["nbf"] = json!(now - 600);
    claims["iat"] = json!(now - 300);
    Some(signed_jwt(&header, &claims))
}

/// A JWT signed with the tests' gateway key, whatever algorithm its header names.
pub fn signed_jwt(header: &Value, claims: &Value) -> String {
    let message = jwt_message(header, claims);
    let key = RsaKeyPair::from_pkcs8(local_apigw::PRIVATE_KEY).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The part of a JWT that the signature covers.
pub fn jwt_message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

pub use local_apigw::PUBLIC_KEY as GATEWAY_PUBLIC_KEY;
