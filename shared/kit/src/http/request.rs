//! A request that is not sent yet.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::error::{Call, Error, ErrorKind};
use super::response::Response;

/// A request that is not sent yet. What is wrong with its parts is said by [`send`](Self::send).
///
/// ```
/// # use std::time::Duration;
/// # use bk_plugin_kit::http::{Client, Error};
/// async fn find(client: &Client, name: &str) -> Result<String, Error> {
///     let request = client.get("https://jobs.example/jobs").query(&[("name", name)]);
///     let request = request.header("X-Request-Id", "42").timeout(Duration::from_secs(3));
///     request.send().await?.error_for_status()?.text().await
/// }
/// ```
#[must_use = "it is not sent"]
pub struct Request {
    builder: Result<reqwest::RequestBuilder, String>,
    call: Call,
    largest_answer: usize,
}

impl Request {
    pub(super) fn new(
        builder: Result<reqwest::RequestBuilder, String>,
        call: Call,
        largest_answer: usize,
    ) -> Self {
        Self { builder, call, largest_answer }
    }

    fn with(self, part: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self { builder: self.builder.map(part), ..self }
    }

    /// Adds a header.
    pub fn header(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.with(|builder| builder.header(name.as_ref(), value.as_ref()))
    }

    /// Adds a bearer token, as the header `Authorization`.
    pub fn bearer(self, token: impl fmt::Display) -> Self {
        self.with(|builder| builder.bearer_auth(token))
    }

    /// Adds to the query of the address: `&[("page", 2)]`, or a struct with a field a parameter.
    pub fn query(self, query: &(impl Serialize + ?Sized)) -> Self {
        self.with(|builder| builder.query(query))
    }

    /// Sends this as JSON.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Self {
        self.with(|builder| builder.json(body))
    }

    /// Sends this as a form, `application/x-www-form-urlencoded`.
    pub fn form(self, body: &(impl Serialize + ?Sized)) -> Self {
        self.with(|builder| builder.form(body))
    }

    /// Sends these bytes. Name their kind in the header `Content-Type`.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        self.with(|builder| builder.body(body.into()))
    }

    /// How long this call may take, from connecting to the answer's last byte, instead of the client's time-out.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|builder| builder.timeout(timeout))
    }

    /// Sends it. An answer with any status is a [`Response`].
    pub async fn send(self) -> Result<Response, Error> {
        let Self { builder, call, largest_answer } = self;
        let builder = match builder {
            Ok(builder) => builder,
            Err(reason) => return Err(ErrorKind::Request(reason).of(call)),
        };
        let (client, request) = builder.build_split();
        let sent = async {
            let mut request = request?;
            // Any header may be a credential: not one is printed.
            request.headers_mut().values_mut().for_each(|value| value.set_sensitive(true));
            client.execute(request).await
        };
        match sent.await {
            Ok(answer) => Ok(Response::new(answer, call, largest_answer)),
            Err(error) => Err(ErrorKind::sending(&error).of(call)),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.call).finish()
    }
}
