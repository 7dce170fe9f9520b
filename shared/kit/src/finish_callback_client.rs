//! Posts finish callbacks over HTTP. The URL comes from the caller, so it may not lead anywhere that only
//! this machine can reach by accident of where it runs: the metadata service above all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
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
#[derive(Debug)]
pub struct HttpFinishCallbackClient {
    /// Made when it is first needed: reading the machine's certificates takes a while, and a Lambda function
    /// that is started for something else need not wait for it.
    client: OnceLock<reqwest::Client>,
    allowed: Allowed,
}

/// The client could not be made: the machine's TLS set-up is broken.
#[derive(Debug, thiserror::Error)]
#[error("the client for finish callbacks cannot be made: {0}")]
pub struct ClientError(#[from] reqwest::Error);

impl HttpFinishCallbackClient {
    /// A client; certificates are checked against the machine's own list. In development it may post to this
    /// machine itself.
    pub fn new(development: bool) -> Self {
        Self { client: OnceLock::new(), allowed: Allowed { loopback: development } }
    }

    /// Makes now what is otherwise made for the first post, and says if that cannot be done.
    pub fn prepare(&self) -> Result<(), ClientError> {
        self.client().map(drop)
    }

    fn client(&self) -> Result<&reqwest::Client, ClientError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        crate::tls::install();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            // A proxy would resolve names where they cannot be checked.
            .no_proxy()
            .dns_resolver(CheckedResolver(self.allowed))
            .user_agent(concat!("bk-plugin-framework-rust/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.client.get_or_init(|| client))
    }
}

#[async_trait]
impl FinishCallbackClient for HttpFinishCallbackClient {
    async fn post(&self, finish_callback: &FinishCallback) -> Result<(), PostError> {
        let url = reqwest::Url::parse(&finish_callback.url)
            .map_err(|error| PostError(format!("plugin_callback_info.url is not a URL: {error}")))?;
        self.allowed.check(&url)?;
        let client = self.client().map_err(|error| PostError(error.to_string()))?;
        let mut answer = client
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

/// Which addresses may be posted to.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    /// This machine itself: what listens there (a sidecar, Lambda's own API) is not meant for callers.
    loopback: bool,
}

impl Allowed {
    fn check(self, url: &reqwest::Url) -> Result<(), PostError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PostError(format!(
                "plugin_callback_info.url is {}, not http or https",
                url.scheme()
            )));
        }
        // A literal address is not resolved, so the resolver does not see it.
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if self.forbids(address) => Err(PostError(Forbidden(host.to_owned()).to_string())),
            _ => Ok(()),
        }
    }

    /// Whether an address is this machine's, link-local, a metadata service's, or no host's at all.
    fn forbids(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.forbids_v4(v4),
            IpAddr::V6(v6) => {
                v6.is_loopback() && !self.loopback
                    || embedded(v6).is_some_and(|v4| self.forbids_v4(v4))
                    || v6.is_unicast_link_local()
                    || v6.is_unspecified()
                    || v6.is_multicast()
                    // AWS' metadata service over IPv6.
                    || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
            }
        }
    }

    fn forbids_v4(self, address: Ipv4Addr) -> bool {
        address.is_loopback() && !self.loopback
            || address.is_link_local()
            || address.is_unspecified()
            || address.is_broadcast()
            || address.is_multicast()
            // The metadata service of Alibaba Cloud.
            || address == Ipv4Addr::new(100, 100, 100, 200)
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped, NAT64 (64:ff9b::/96) or 6to4 (2002::/16).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "finish callbacks may not be sent to {0}: an address of this machine, a link-local or a metadata one"
)]
struct Forbidden(String);

/// Resolves names and refuses those that lead to a forbidden address. The addresses it returns are those
/// that are connected to, so a name cannot change its mind in between.
struct CheckedResolver(Allowed);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| allowed.forbids(address.ip())) {
                return Err(Forbidden(name.as_str().to_owned()).into());
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
        let client = HttpFinishCallbackClient::new(true);
        client.post(&FinishCallback { url, data: JsonObject::new() }).await
    }

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden() {
        let (development, production) = (Allowed { loopback: true }, Allowed { loopback: false });
        for address in [
            "169.254.169.254",
            "0.0.0.0",
            "100.100.100.200",
            "fe80::1",
            "::",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "255.255.255.255",
        ] {
            assert!(development.forbids(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "2001:db8::1", "8.8.8.8"] {
            assert!(!production.forbids(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "::1", "127.9.9.9", "::ffff:127.0.0.1"] {
            assert!(production.forbids(address.parse().unwrap()), "{address}");
            assert!(!development.forbids(address.parse().unwrap()), "{address}");
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
