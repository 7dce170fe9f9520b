//! Where finish callbacks may go: to no loopback, link-local or metadata address, and if the operator lists hosts and
//! networks, only there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use bk_plugin_engine::PostError;
use ipnet::IpNet;

/// The addresses that finish callbacks may be posted to.
#[derive(Debug, Clone, Default)]
pub struct Destinations {
    /// Whether this machine's loopback addresses are allowed: what listens there (a sidecar, Lambda's own API) is not
    /// meant for callers.
    loopback: bool,
    /// The only destinations, if the operator has listed any.
    listed: Option<Arc<[Destination]>>,
}

/// A host or a network that finish callbacks may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The host of this name.
    Host(String),
    /// Every host whose name ends with this text, which includes the dot in front.
    Domain(String),
    /// Every host with an address in this network.
    Network(IpNet),
}

/// The text names neither a host nor a network.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is neither a host (sops.example.com), nor a domain (*.example.com), nor a network (10.0.0.0/8)"
)]
pub struct InvalidDestination(String);

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let (name, domain) = match text.strip_prefix('*') {
            Some(domain) => (domain.strip_prefix('.').unwrap_or_default(), true),
            None => (text, false),
        };
        let is_name = !name.is_empty()
            && name.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            });
        if !is_name {
            return Err(InvalidDestination(text.to_owned()));
        }
        let name = name.to_ascii_lowercase();
        Ok(if domain { Self::Domain(format!(".{name}")) } else { Self::Host(name) })
    }
}

impl Destination {
    fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Host(host) => host == name,
            Self::Domain(domain) => name.ends_with(domain.as_str()),
            Self::Network(_) => false,
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address.to_canonical()))
    }
}

/// Why a callback is not sent. It names the host, which the operator needs to find the cause.
#[derive(Debug, thiserror::Error)]
pub(super) enum Forbidden {
    #[error("finish callbacks may not be sent to {0}: a loopback, a link-local or a metadata address")]
    Address(String),
    #[error("finish callbacks may not be sent to {0}: BK_PLUGIN_FINISH_CALLBACK_HOSTS does not list it")]
    NotListed(String),
}

impl Destinations {
    /// Anywhere but to loopback, link-local and metadata addresses.
    pub fn anywhere() -> Self {
        Self::default()
    }

    /// To this machine's loopback addresses, too: for development.
    #[must_use]
    pub fn and_loopback(self) -> Self {
        Self { loopback: true, ..self }
    }

    /// Only these destinations.
    #[must_use]
    pub fn only(self, listed: impl Into<Arc<[Destination]>>) -> Self {
        Self { listed: Some(listed.into()), ..self }
    }

    /// Checks what can be checked of a URL before its host is resolved. A literal address is not resolved at all.
    pub(super) fn check(&self, url: &reqwest::Url) -> Result<(), PostError> {
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Err(PostError(format!("plugin_callback_info.url is {scheme}, not http or https")));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let checked = host.parse::<IpAddr>().map_or(Ok(()), |address| self.check_addresses(host, &[address]));
        checked.map_err(|forbidden| PostError(forbidden.to_string()))
    }

    /// Checks the addresses that a name was resolved to. All must be allowed: the client may connect to any of
    /// them.
    pub(super) fn check_addresses(&self, name: &str, addresses: &[IpAddr]) -> Result<(), Forbidden> {
        if addresses.iter().any(|address| self.forbids(*address)) {
            return Err(Forbidden::Address(name.to_owned()));
        }
        if self.lists(name, addresses) { Ok(()) } else { Err(Forbidden::NotListed(name.to_owned())) }
    }

    fn lists(&self, name: &str, addresses: &[IpAddr]) -> bool {
        let Some(listed) = &self.listed else { return true };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        listed.iter().any(|destination| destination.has_name(&name))
            || addresses.iter().all(|address| listed.iter().any(|listed| listed.has_address(*address)))
    }

    /// Whether an address is a loopback address (unless it is listed), link-local, a metadata service's, or not a
    /// host's at all.
    fn forbids(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.forbids_v4(v4),
            IpAddr::V6(v6) => {
                v6.is_loopback() && !self.reaches_loopback(address)
                    || embedded(v6).into_iter().flatten().any(|v4| self.forbids_v4(v4))
                    // NAT64 with a prefix of the operator's: where in it the IPv4 address stands is unknown.
                    || v6.segments().starts_with(&[0x64, 0xff9b, 1])
                    || v6.is_unicast_link_local()
                    || v6.is_unspecified()
                    || v6.is_multicast()
                    // AWS' own services at an instance, and the metadata service of Google Cloud.
                    || v6.segments().starts_with(&[0xfd00, 0xec2])
                    || v6 == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
            }
        }
    }

    fn forbids_v4(&self, address: Ipv4Addr) -> bool {
        address.is_loopback() && !self.reaches_loopback(address.into())
            || address.is_link_local()
            // "This host": the whole of 0.0.0.0/8.
            || address.octets()[0] == 0
            || address.is_broadcast()
            || address.is_multicast()
            || METADATA.contains(&address)
    }

    fn reaches_loopback(&self, address: IpAddr) -> bool {
        self.loopback
            || self.listed.iter().flat_map(|listed| listed.iter()).any(|one| one.has_address(address))
    }
}

/// Metadata services at addresses that are not link-local: those of Alibaba Cloud, Azure and Oracle Cloud.
const METADATA: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// The IPv4 addresses that an IPv6 one leads to. (IPv4-mapped ones, `::ffff:a.b.c.d`, are canonical as IPv4.)
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // The unspecified address and the loopback, which are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        // Teredo: the server, and the client behind it.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            [v4(high, low), v4(!client_high, !client_low)]
        }
        // IPv4-compatible and IPv4-translated; NAT64; 6to4; ISATAP, in whatever network.
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [v4(high, low), None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(texts: &[&str]) -> Destinations {
        let listed: Vec<Destination> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Destinations::anywhere().only(listed)
    }

    fn allows(destinations: &Destinations, name: &str, address: &str) -> bool {
        destinations.check_addresses(name, &[address.parse().unwrap()]).is_ok()
    }

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden() {
        let (development, production) = (Destinations::anywhere().and_loopback(), Destinations::anywhere());
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
            "fd00:ec2::23",
            "fd20:ce::254",
            "168.63.129.16",
            "192.0.0.192",
            "255.255.255.255",
        ] {
            assert!(development.forbids(address.parse().unwrap()), "{address}");
        }
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "2001:db8::1",
            "8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:db8::5efe:8.8.8.8",
        ] {
            assert!(!production.forbids(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "::1", "127.9.9.9", "::ffff:127.0.0.1"] {
            assert!(production.forbids(address.parse().unwrap()), "{address}");
            assert!(!development.forbids(address.parse().unwrap()), "{address}");
        }
    }

    /// Every form of IPv6 address that holds an IPv4 address: a router or the kernel may send to that one.
    #[test]
    fn an_ipv6_address_that_holds_a_forbidden_ipv4_address_is_forbidden() {
        let (development, production) = (Destinations::anywhere().and_loopback(), Destinations::anywhere());
        for (loopback, metadata) in [
            ("::127.0.0.1", "::169.254.169.254"),
            ("::ffff:127.0.0.1", "::ffff:169.254.169.254"),
            ("::ffff:0:127.0.0.1", "::ffff:0:169.254.169.254"),
            ("64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254"),
            ("2002:7f00:1::1", "2002:a9fe:a9fe::1"),
            ("2001:db8::5efe:127.0.0.1", "2001:db8::5efe:169.254.169.254"),
            ("2001:db8::200:5efe:127.0.0.1", "2001:db8::200:5efe:169.254.169.254"),
            ("2001:0:7f00:1::f7f7:f7f7", "2001:0:a9fe:a9fe::f7f7:f7f7"),
            ("2001:0:808:808::80ff:fffe", "2001:0:808:808::5601:5601"),
        ] {
            assert!(production.forbids(loopback.parse().unwrap()), "{loopback}");
            assert!(!development.forbids(loopback.parse().unwrap()), "{loopback}");
            assert!(development.forbids(metadata.parse().unwrap()), "{metadata}");
        }
        for address in
            ["64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::", "64:ff9b:1::1", "0.0.0.1", "::0.0.0.2"]
        {
            assert!(development.forbids(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn with_a_list_what_is_not_on_it_is_forbidden() {
        let listed = listed(&["sops.example.com", "*.internal", "10.1.0.0/16", "2001:db8::/32", "127.0.0.1"]);
        for (name, address) in [
            ("sops.example.com", "8.8.8.8"),
            ("SOPS.example.com.", "8.8.8.8"),
            ("a.b.internal", "8.8.8.8"),
            ("anything", "10.1.2.3"),
            ("anything", "::ffff:10.1.2.3"),
            ("anything", "2001:db8::7"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert!(allows(&listed, name, address), "{name} {address}");
        }
        for (name, address) in [
            ("example.com", "8.8.8.8"),
            ("evil-sops.example.com", "8.8.8.8"),
            ("internal", "8.8.8.8"),
            ("evilinternal", "8.8.8.8"),
            ("anything", "10.2.2.3"),
            ("localhost", "127.0.0.2"),
            ("sops.example.com", "127.0.0.2"),
        ] {
            assert!(!allows(&listed, name, address), "{name} {address}");
        }
    }

    /// A name is not allowed just because one of its addresses is.
    #[test]
    fn every_address_of_a_name_counts() {
        let addresses = ["10.1.0.1".parse().unwrap(), "8.8.8.8".parse().unwrap()];
        assert!(listed(&["10.0.0.0/8"]).check_addresses("two.example.com", &addresses).is_err());
        assert!(listed(&["0.0.0.0/0"]).check_addresses("two.example.com", &addresses).is_ok());
    }

    /// Not even an operator's list allows them, neither by mistake nor for convenience.
    #[test]
    fn a_list_opens_no_metadata_service() {
        let listed = listed(&["metadata.internal", "169.254.169.254", "0.0.0.0/0", "::/0"]);
        for address in ["169.254.169.254", "fe80::1", "100.100.100.200", "::ffff:169.254.169.254"] {
            assert!(!allows(&listed, "metadata.internal", address), "{address}");
        }
    }

    #[test]
    fn what_names_nothing_is_told() {
        for text in ["", "*", "*.", "https://a.example.com", "a:80", "10.0.0.0/40", "a..b", "a/b"] {
            let said = text.parse::<Destination>().unwrap_err().to_string();
            assert!(said.contains("is neither a host"), "{said}");
        }
    }
}
