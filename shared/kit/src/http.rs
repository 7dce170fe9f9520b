//! A client for calling other systems over HTTP (feature `http`).
//!
//! [`Client`] is a thin layer over [reqwest](https://docs.rs/reqwest) with what a step needs:
//!
//! - Every call ends: a connection is given 5 s, a call with its answer 20 s. Two calls fit into a step's minute.
//! - Nothing secret is in an error. It names the method and the address's scheme, host and port, never path, query,
//!   user, header or body: the text goes to the log and to the caller.
//! - No redirect is followed. The next host must not get this one's credentials, and a POST would arrive there as a GET
//!   without its body. [`Response::error_for_status`] makes an error of a redirect.
//! - The certificates in `BK_PLUGIN_CA_FILE` are trusted besides the machine's own.
//! - An answer of more than 16 MiB is an error, not the end of the process.
//!
//! Proxies are used as `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
//!
//! ```
//! use bk_plugin_kit::http;
//! use bk_plugin_kit::prelude::*;
//!
//! /// A job of the other system's.
//! #[derive(Deserialize)]
//! struct Job {
//!     id: u64,
//! }
//!
//! struct Jobs {
//!     http: http::Client,
//!     url: String,
//!     token: String,
//! }
//!
//! impl Jobs {
//!     async fn start(&self, host: &str) -> Result<Job, http::Error> {
//!         let request = self.http.post(format!("{}/jobs", self.url)).bearer(&self.token);
//!         request.json(&serde_json::json!({"host": host})).send().await?.error_for_status()?.json().await
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let url = "http://127.0.0.1:1/the-path".to_owned();
//! let jobs = Jobs { http: http::Client::new(), url, token: "the token".to_owned() };
//! let error = jobs.start("10.0.0.1").await.err().unwrap();
//! assert!(error.to_string().starts_with("POST http://127.0.0.1:1: cannot be reached: "));
//! assert!(error.may_pass());
//! # });
//! ```

mod authorities;
mod error;
mod request;
mod response;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[doc(no_inline)]
pub use axum::http::{HeaderMap, Method, StatusCode, header};

#[doc(hidden)]
pub use authorities::trust;
pub use error::{Error, ErrorKind};
pub use request::Request;
pub use response::Response;

use error::{Call, root_cause};

/// Makes calls to other systems. Make one where the version is made; clones share its connections.
///
/// ```
/// # use std::time::Duration;
/// # use bk_plugin_kit::http::Client;
/// let client = Client::new();
/// let patient = Client::builder().timeout(Duration::from_secs(50)).largest_answer(64 << 20).build();
/// # let _ = (client.get("http://jobs.example"), patient.get("http://jobs.example"));
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    options: ClientBuilder,
    /// Made for the first call: reading the machine's certificates takes a while, a Lambda function that is started for
    /// something else need not wait for it, and a host may say whom to trust after the version was made.
    made: OnceLock<reqwest::Client>,
}

/// Makes a [`Client`] with limits other than the usual ones.
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    connect_timeout: Duration,
    timeout: Duration,
    largest_answer: usize,
}

impl Client {
    /// A client with the usual limits: 5 s to connect, 20 s for a call with its answer, 16 MiB an answer.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// The beginning of a client with other limits.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            largest_answer: 16 << 20,
        }
    }

    /// Begins a GET.
    pub fn get(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::GET, url)
    }

    /// Begins a POST.
    pub fn post(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::POST, url)
    }

    /// Begins a PUT.
    pub fn put(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::PUT, url)
    }

    /// Begins a PATCH.
    pub fn patch(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::PATCH, url)
    }

    /// Begins a DELETE.
    pub fn delete(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::DELETE, url)
    }

    /// Begins a request with any method. An address that is not valid is said by [`Request::send`].
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Request {
        let call = Call::new(&method, url.as_ref());
        let builder = self.made().map(|client| client.request(method, url.as_ref()));
        Request::new(builder, call, self.0.options.largest_answer)
    }

    fn made(&self) -> Result<&reqwest::Client, String> {
        if let Some(client) = self.0.made.get() {
            return Ok(client);
        }
        let client = self.0.options.make()?;
        Ok(self.0.made.get_or_init(|| client))
    }
}

impl ClientBuilder {
    /// How long connecting may take, the TLS handshake included.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How long a call may take, from connecting to the answer's last byte. Stay below the step's time limit
    /// (`BK_PLUGIN_STEP_TIME_LIMIT`): a step that is ended by its limit cannot say which call was slow.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How many bytes the body of an answer may have.
    #[must_use]
    pub fn largest_answer(self, bytes: usize) -> Self {
        Self { largest_answer: bytes, ..self }
    }

    /// The client. It never fails: what is wrong with certificates is said by the first call.
    pub fn build(self) -> Client {
        Client(Arc::new(Shared { options: self, made: OnceLock::new() }))
    }

    fn make(&self) -> Result<reqwest::Client, String> {
        install_tls();
        let builder = reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bk-plugin-framework-rust/", env!("CARGO_PKG_VERSION")));
        let certificates = authorities::certificates()?;
        let builder = if certificates.is_empty() { builder } else { builder.tls_certs_merge(certificates) };
        builder.build().map_err(|error| root_cause(&error))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client inside would print its proxies, whose addresses may hold a password.
        f.debug_tuple("Client").field(&self.0.options).finish()
    }
}

/// Chooses ring as the cryptography of this process, unless one is chosen already.
///
/// The server, the Lambda functions and [`Client`] call it. A program of your own calls it before it makes a
/// `reqwest::Client`, which panics without.
pub fn install_tls() {
    // An error says that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
