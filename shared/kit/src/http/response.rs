//! An answer whose body is not read yet.

use std::fmt;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use super::error::{Call, Error, ErrorKind};

/// An answer whose body is not read yet.
///
/// ```
/// # use bk_plugin_kit::http::{Client, Error, StatusCode};
/// # use serde::Deserialize;
/// #[derive(Deserialize)]
/// struct Job {
///     done: bool,
/// }
///
/// /// `None`: there is no such job.
/// async fn is_done(client: &Client, id: u64) -> Result<Option<bool>, Error> {
///     let answer = client.get(format!("https://jobs.example/jobs/{id}")).send().await?;
///     if answer.status() == StatusCode::NOT_FOUND {
///         return Ok(None);
///     }
///     let job: Job = answer.error_for_status()?.json().await?;
///     Ok(Some(job.done))
/// }
/// ```
pub struct Response {
    answer: reqwest::Response,
    call: Call,
    largest: usize,
}

impl Response {
    pub(super) fn new(answer: reqwest::Response, call: Call, largest: usize) -> Self {
        Self { answer, call, largest }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// The same answer if its status is 2xx, else [`ErrorKind::Status`]: redirects are not followed, so they are errors.
    pub fn error_for_status(self) -> Result<Self, Error> {
        let status = self.status();
        if status.is_success() { Ok(self) } else { Err(ErrorKind::Status(status).of(self.call)) }
    }

    /// The body, from JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let call = self.call.clone();
        let body = self.bytes().await?;
        serde_json::from_slice(&body).map_err(|error| ErrorKind::decoding(&error).of(call))
    }

    /// The body as text. Bytes that are not UTF-8 become `�`.
    pub async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// The body.
    pub async fn bytes(self) -> Result<Vec<u8>, Error> {
        let Self { mut answer, call, largest } = self;
        let fits = |bytes: u64| bytes <= largest as u64;
        let mut body = Vec::new();
        // The length that is announced is checked first, so that nothing is read in vain.
        let mut fitting = answer.content_length().is_none_or(fits);
        while fitting {
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    fitting = fits((body.len() + chunk.len()) as u64);
                    body.extend_from_slice(&chunk);
                }
                Ok(None) => return Ok(body),
                Err(error) => return Err(ErrorKind::reading(&error).of(call)),
            }
        }
        Err(ErrorKind::TooLarge(largest).of(call))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Response").field(&self.call).field(&self.status()).finish()
    }
}
