//! The recordings, and how their requests are sent again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Names, Receiver};
use crate::common::{Mode, mint_token, open_token, renewed_jwt};

/// The recorder's own receiver of finish callbacks.
const RECORDED_RECEIVER: &str = "http://127.0.0.1:33821";

/// Cookies that the recorder sent and did not record, by case.
const COOKIES: &[(&str, &str)] = &[("plugin_api_echo_get", "bk_token=tok123")];

/// The recording of one case.
#[derive(Deserialize)]
pub(crate) struct Transcript {
    /// The name of its file.
    #[serde(skip)]
    pub(crate) case: String,
    pub(crate) steps: Vec<Step>,
    #[serde(default)]
    pub(crate) finish_callback_received: Vec<Received>,
    #[serde(default)]
    pub(crate) finish_callback_count: Option<usize>,
}

#[derive(Deserialize)]
pub(crate) struct Step {
    pub(crate) request: Request,
    pub(crate) response: Response,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) body: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Response {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    /// A body that is not JSON is a string here.
    pub(crate) body: Value,
}

#[derive(Deserialize)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) body: String,
}

/// An answer of the service.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if there was no answer.
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    /// A body that is not JSON is a string here.
    pub(crate) body: Value,
}

/// All transcripts of a folder, by name.
pub(crate) fn read_all(folder: &Path) -> Vec<Transcript> {
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        let transcript: Transcript =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Transcript { case: file.file_stem().unwrap().to_str().unwrap().to_owned(), ..transcript }
    };
    files.iter().map(read).collect()
}

impl Transcript {
    /// The reference's set-up during the recording.
    pub(crate) fn mode(&self) -> Mode {
        match self.case.split_once('.') {
            Some(("prod", _)) => Mode::Gateway,
            Some(("scope_prod", _)) => Mode::Scoped,
            _ => Mode::Development,
        }
    }

    /// The path at the receiver to which the finish callback is sent.
    pub(super) fn finish_callback_path(&self) -> Option<String> {
        let received = self.finish_callback_received.first().map(|received| received.path.clone());
        received.or_else(|| {
            let body = self.steps.first()?.request.body.as_deref()?;
            let path = body.split_once(RECORDED_RECEIVER)?.1;
            Some(path.split_once('"')?.0.to_owned())
        })
    }
}

impl Request {
    /// The request with this run's ids, tokens and JWTs in place of the recorded ones.
    pub(super) fn renewed(&self, case: &str, names: &mut Names, receiver: &Receiver) -> Self {
        let mut request = self.clone();
        request.headers.remove("Content-Length");
        renew_token(case, &self.path, names);
        request.path = names.apply(&self.path);
        request.body = self
            .body
            .as_ref()
            .map(|body| names.apply(&whole(body)).replace(RECORDED_RECEIVER, receiver.base_url()));
        if let Some(recorded) = self.headers.get("X-Bkapi-JWT")
            && let Some(jwt) = renewed_jwt(recorded, if case.contains("expired_jwt") { -3660 } else { 3600 })
        {
            names.set(recorded, &jwt);
            request.headers.insert("X-Bkapi-JWT".to_owned(), jwt);
        }
        if let Some((_, cookie)) = COOKIES.iter().find(|(of, _)| *of == case) {
            request.headers.insert("Cookie".to_owned(), (*cookie).to_owned());
        }
        request
    }

    /// Whether the answer changes by itself until it is the recorded one.
    pub(super) fn settles(&self) -> bool {
        self.method == "GET" && (self.path.contains("/schedule/") || self.path.contains("/logs/"))
    }

    /// The path, with long parts shortened for printing.
    pub(super) fn shown_path(&self) -> String {
        self.path.chars().take(60).collect()
    }
}

/// Mints a new token for the running invocation in place of one that the recorder minted itself.
fn renew_token(case: &str, path: &str, names: &mut Names) {
    let Some((_, token)) = path.split_once("/callback/") else { return };
    let token = token.trim_end_matches('/');
    if names.knows(token) {
        return;
    }
    if let Some(text) = open_token(token) {
        // A callback with a fresh token may be early, and is kept (deviation 3); an old token proves that
        // there is no invocation.
        let age = if case == "callback_unknown_trace" { 3600 } else { 0 };
        let renewed = mint_token(&names.apply(&text), age);
        names.set(token, &renewed);
    }
}

/// Restores the full length of a body that was shortened in the recording (`...xxx…[3000059 chars]`).
fn whole(body: &str) -> String {
    let Some((start, rest)) = body.split_once('…') else { return body.to_owned() };
    let Some(length) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(" chars]")) else {
        return body.to_owned();
    };
    let end = r#""}, "context": {"executor": "admin"}}"#;
    let length: usize = length.parse().unwrap();
    format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()))
}

impl Answer {
    pub(super) async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match response.bytes().await {
            Ok(bytes) => {
                let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
                let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
                Self { status, content_type, body }
            }
            Err(error) => Self::none(&error.to_string()),
        }
    }

    pub(super) fn none(error: &str) -> Self {
        Self { status: 0, content_type: None, body: error.into() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.body.to_string().chars().take(300).collect();
        write!(f, "{} {body}", self.status)
    }
}
