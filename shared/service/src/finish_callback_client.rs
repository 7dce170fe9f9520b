//! Posts finish callbacks over HTTP. The URL comes from the caller, so it may not lead to what only this machine can
//! reach: its loopback addresses, link-local ones, and the metadata service above all.

mod destinations;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderValue;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use serde_json::Value;

pub use destinations::{Destination, Destinations, InvalidDestination};

use bk_plugin_core::caller::{Caller, TENANT};
use bk_plugin_core::error_text::with_sources;
use bk_plugin_core::record::FinishCallback;
use bk_plugin_engine::{FinishCallbackClient, PostError};

use crate::tls::Authorities;

/// Time limit of one post. bk-sops answers at once; a receiver that does not is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the answer that are searched for `"result": false`.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Posts over HTTP and HTTPS, follows no redirect, and connects to the address it has checked.
#[derive(Debug)]
pub struct HttpFinishCallbackClient {
    /// Made when it is first needed: reading the machine's certificates takes a while, and a Lambda function that
    /// was started for something else need not wait for it.
    client: OnceLock<reqwest::Client>,
    destinations: Destinations,
    authorities: Authorities,
}

/// The client could not be made: the machine's TLS set-up is broken.
#[derive(Debug, thiserror::Error)]
#[error("the client for finish callbacks cannot be made: {0}")]
pub struct ClientError(#[from] reqwest::Error);

impl HttpFinishCallbackClient {
    /// A client that posts to `destinations`; certificates are checked against `authorities`.
    pub fn new(destinations: Destinations, authorities: Authorities) -> Self {
        Self { client: OnceLock::new(), destinations, authorities }
    }

    /// Makes the client now instead of at the first post; fails if it cannot be made.
    pub fn prepare(&self) -> Result<(), ClientError> {
        self.client().map(drop)
    }

    fn client(&self) -> Result<&reqwest::Client, ClientError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = crate::tls::client_builder(&self.authorities)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            // A proxy would resolve names itself, where they cannot be checked.
            .no_proxy()
            .dns_resolver(CheckedResolver(self.destinations.clone()))
            .user_agent(concat!("bk-plugin-framework-rust/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

#[async_trait]
impl FinishCallbackClient for HttpFinishCallbackClient {
    async fn post(&self, finish_callback: &FinishCallback, caller: &Caller) -> Result<(), PostError> {
        let url = reqwest::Url::parse(&finish_callback.url)
            .map_err(|error| PostError(format!("plugin_callback_info.url is not a URL: {error}")))?;
        self.destinations.check(&url)?;
        let client = self.client().map_err(|error| PostError(error.to_string()))?;
        let mut post = client.post(url).json(&finish_callback.data);
        if let Some(tenant) = caller.tenant_id.as_ref().and_then(|id| HeaderValue::try_from(id).ok()) {
            post = post.header(TENANT, tenant);
        }
        let mut answer = post
            .send()
            .await
            // The URL may hold a token: the log says what went wrong, not where.
            .map_err(|error| PostError(with_sources(&error.without_url())))?;
        if !answer.status().is_success() {
            return Err(PostError(format!("the caller answered {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                break;
            }
        }
        let refused = serde_json::from_slice::<Value>(&body)
            .is_ok_and(|body| body.get("result") == Some(&Value::Bool(false)));
        if refused { Err(PostError("the caller answered \"result\": false".to_owned())) } else { Ok(()) }
    }
}

/// Resolves names and refuses those that lead to a forbidden address. The client connects to the addresses it
/// returns, so a name cannot lead elsewhere after the check.
struct CheckedResolver(Destinations);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let destinations = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addresses: Vec<_> = found.iter().map(SocketAddr::ip).collect();
            destinations.check_addresses(name.as_str(), &addresses)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use bk_plugin_core::JsonObject;

    use super::*;

    async fn post_to(url: String) -> Result<(), PostError> {
        let destinations = Destinations::anywhere().and_loopback();
        let client = HttpFinishCallbackClient::new(destinations, Authorities::default());
        client.post(&FinishCallback { url, data: JsonObject::new() }, &Caller::default()).await
    }

    #[tokio::test]
    async fn what_is_no_callers_url_is_refused() {
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://[fe80::1]/",
            "http://2852039166/",
            "file:///etc/passwd",
            "not a url",
        ] {
            let error = post_to(url.to_owned()).await.unwrap_err().to_string();
            assert!(
                error.contains("may not be sent") || error.contains("plugin_callback_info.url"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn two_hundreds_count_unless_they_say_false() {
        let answer = |status: u16, body: &'static str| {
            post(move || async move { (StatusCode::from_u16(status).unwrap(), body) })
        };
        let routes = Router::new()
            .route("/ok", answer(200, "{\"result\": true}"))
            .route("/empty", answer(204, ""))
            .route("/text", answer(200, "fine"))
            .route("/false", answer(200, "{\"result\": false}"))
            .route("/error", answer(500, ""))
            .route("/redirect", answer(302, ""));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        for path in ["/ok", "/empty", "/text"] {
            post_to(format!("{base}{path}")).await.unwrap();
        }
        for path in ["/false", "/error", "/redirect"] {
            post_to(format!("{base}{path}")).await.unwrap_err();
        }
    }

    /// The certificate's issuer must be trusted: by the machine, or by the operator's own list.
    #[tokio::test]
    async fn a_private_authority_is_trusted_when_it_is_told() {
        const DATA: &str = local_apigw::DATA;
        crate::tls::install();
        let port =
            serve_tls(&format!("{DATA}test_localhost.pem"), &format!("{DATA}test_localhost.pk8")).await;
        let finish_callback =
            FinishCallback { url: format!("https://localhost:{port}/"), data: JsonObject::new() };
        let destinations = Destinations::anywhere().and_loopback();

        let client = HttpFinishCallbackClient::new(destinations.clone(), Authorities::default());
        let refused = client.post(&finish_callback, &Caller::default()).await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{refused}");

        let authorities = Authorities::read(format!("{DATA}test_authority.pem")).unwrap();
        let client = HttpFinishCallbackClient::new(destinations, authorities);
        client.post(&finish_callback, &Caller::default()).await.unwrap();
    }

    /// Answers every connection on a port of its own with 204.
    async fn serve_tls(certificate: &str, key: &str) -> u16 {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(std::fs::read(key).unwrap()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        });
        port
    }

    #[tokio::test]
    async fn the_callers_tenant_is_named() {
        let named = |headers: HeaderMap| async move {
            let is_named = headers.get("X-Bk-Tenant-Id").is_some_and(|tenant| tenant == "system");
            if is_named { StatusCode::OK } else { StatusCode::FORBIDDEN }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(named))).await });
        let destinations = Destinations::anywhere().and_loopback();
        let client = HttpFinishCallbackClient::new(destinations, Authorities::default());
        let to = FinishCallback { url, data: JsonObject::new() };
        let of =
            |tenant: Option<&str>| Caller { tenant_id: tenant.map(ToOwned::to_owned), ..Caller::default() };
        client.post(&to, &of(Some("system"))).await.unwrap();
        for other in [None, Some("no\nheader")] {
            let refused = client.post(&to, &of(other)).await.unwrap_err();
            assert!(refused.to_string().contains("403"), "{refused}");
        }
    }
}
