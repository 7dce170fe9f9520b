//! Posts finish callbacks over HTTP. The URL comes from the caller, so it may not lead anywhere that only
//! this machine can reach by accident of where it runs: the metadata service above all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use serde_json::Value;

use crate::engine::{FinishCallbackClient, PostError};
use crate::error::with_sources;
use crate::record::FinishCallback;

/// How long one post may take. bk-sops answers at once; whoever does not is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// As much of the answer as is looked at for `"result": false`.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Posts over HTTP and HTTPS, follows no redirect, and connects to the address it has checked.
#[derive(Debug, Clone)]
pub struct HttpFinishCallbackClient {
    client: reqwest::Client,
}

/// The client could not be made: the machine's TLS set-up is broken.
#[derive(Debug, thiserror::Error)]
#[error("the client for finish callbacks cannot be made: {0}")]
pub struct ClientError(#[from] reqwest::Error);

impl HttpFinishCallbackClient {
    /// A client; certificates are checked against the machine's own list.
    pub fn new() -> Result<Self, ClientError> {
        crate::tls::install();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .dns_resolver(CheckedResolver)
            .user_agent(concat!("bk-plugin-framework-rust/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client })
    }
}

#[async_trait]
impl FinishCallbackClient for HttpFinishCallbackClient {
    async fn post(&self, finish_callback: &FinishCallback) -> Result<(), PostError> {
        let url = reqwest::Url::parse(&finish_callback.url)
            .map_err(|error| PostError(format!("plugin_callback_info.url is not a URL: {error}")))?;
        check(&url)?;
        let mut answer = self
            .client
            .post(url)
            .json(&finish_callback.data)
            .send()
            .await
            // The URL may hold a token: the log is told what went wrong, not where.
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

fn check(url: &reqwest::Url) -> Result<(), PostError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(PostError(format!("plugin_callback_info.url is {}, not http or https", url.scheme())));
    }
    // A literal address is not resolved, so the resolver does not see it.
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if is_forbidden(address) => Err(PostError(forbidden(host).to_string())),
        _ => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("finish callbacks may not be sent to {0}: a link-local or metadata address")]
struct Forbidden(String);

fn forbidden(host: &str) -> Forbidden {
    Forbidden(host.to_owned())
}

/// Whether an address is link-local, a metadata service's, or no host's at all.
fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_forbidden_v4(v4),
        IpAddr::V6(v6) => {
            let embedded = v6.to_ipv4_mapped().or_else(|| v6.to_ipv4().filter(|_| !v6.is_loopback()));
            embedded.is_some_and(is_forbidden_v4)
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                // AWS' metadata service over IPv6.
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        // The metadata services of Alibaba Cloud and of Tencent Cloud (metadata.tencentyun.com).
        || address == Ipv4Addr::new(100, 100, 100, 200)
        || address == Ipv4Addr::new(169, 254, 0, 23)
}

/// Resolves names and refuses those that lead to a forbidden address. The addresses it returns are those
/// that are connected to, so a name cannot change its mind in between.
struct CheckedResolver;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| is_forbidden(address.ip())) {
                return Err(forbidden(name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;
    use crate::JsonObject;

    async fn post_to(url: String) -> Result<(), PostError> {
        let client = HttpFinishCallbackClient::new().unwrap();
        client.post(&FinishCallback { url, data: JsonObject::new() }).await
    }

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden() {
        for address in [
            "169.254.169.254",
            "0.0.0.0",
            "100.100.100.200",
            "fe80::1",
            "::",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "255.255.255.255",
        ] {
            assert!(is_forbidden(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "2001:db8::1", "8.8.8.8"] {
            assert!(!is_forbidden(address.parse().unwrap()), "{address}");
        }
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
}
