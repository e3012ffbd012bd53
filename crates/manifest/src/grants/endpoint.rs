//! Where sockets may lead.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use thiserror::Error;

use super::host::{HostError, HostPattern, parse_host, parse_port};

/// Where sockets may lead: `db.example.com:5432`, `10.0.0.0/8:5432`, `[fd00::/8]:*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whom.
    pub peer: Peer,
    /// The port; any where there is none.
    pub port: Option<u16>,
}

/// The host or hosts of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// By name: the addresses that the name has when the guest looks it up.
    Named(HostPattern),
    /// By address.
    Network(IpNet),
}

impl Endpoint {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not a name, an address or a network with a port, or `*` for any.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        if port.contains(']') {
            return Err(EndpointError::NoPort);
        }
        let port = if port == "*" { None } else { Some(parse_port(port)?) };
        Ok(Self { peer: parse_peer(host)?, port })
    }

    /// Whether `address` is meant, by its address.
    pub fn contains(&self, address: SocketAddr) -> bool {
        let Peer::Network(network) = &self.peer else { return false };
        self.has_port(address.port()) && network.contains(&address.ip().to_canonical())
    }

    /// Whether what the name `host` leads to is meant.
    pub fn is_for_name(&self, host: &str) -> bool {
        matches!(&self.peer, Peer::Named(pattern) if pattern.matches(host))
    }

    /// Whether all that `other` means is meant.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let has_port = self.port.is_none() || self.port == other.port;
        has_port
            && match (&self.peer, &other.peer) {
                (Peer::Network(network), Peer::Network(other)) => network.contains(other),
                (Peer::Named(name), Peer::Named(other)) => name.covers(other),
                _ => false,
            }
    }

    /// Whether `port` is meant.
    pub fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|granted| granted == port)
    }
}

fn parse_peer(host: &str) -> Result<Peer, EndpointError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.contains('/') {
        let network: IpNet = bare.parse().map_err(|_| EndpointError::Network)?;
        if network.trunc() != network {
            return Err(EndpointError::HostBits(network.trunc()));
        }
        return Ok(Peer::Network(network));
    }
    Ok(match parse_host(host)? {
        HostPattern::Address(address) => Peer::Network(address.into()),
        name => Peer::Named(name),
    })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Peer::Named(name) => write!(f, "{name}")?,
            Peer::Network(network) => write_network(network, f)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

/// A network of one address is written as that address.
fn write_network(network: &IpNet, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_single = network.prefix_len() == network.max_prefix_len();
    match (network.addr(), is_single) {
        (IpAddr::V4(address), true) => write!(f, "{address}"),
        (IpAddr::V4(_), false) => write!(f, "{network}"),
        (IpAddr::V6(address), true) => write!(f, "[{address}]"),
        (IpAddr::V6(_), false) => write!(f, "[{network}]"),
    }
}

/// A text that is no [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum EndpointError {
    #[error("it names no port; `:*` is any")]
    NoPort,
    #[error("not a network")]
    Network,
    #[error("a network has no bits beyond its prefix: it is {0}")]
    HostBits(IpNet),
    #[error("{0}")]
    Host(#[from] HostError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_are_written() {
        for text in [
            "db.example.com:5432",
            "*.example.com:443",
            "10.0.0.0/8:*",
            "127.0.0.1:6379",
            "[::1]:6379",
            "[fd00::/8]:53",
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_endpoint() {
        for (text, error) in [
            ("db.example.com", EndpointError::NoPort),
            ("[::1]", EndpointError::NoPort),
            ("db.example.com:", EndpointError::Host(HostError::Port)),
            ("db.example.com:65536", EndpointError::Host(HostError::Port)),
            ("10.0.0.0/33:1", EndpointError::Network),
            ("10.0.0.1/8:1", EndpointError::HostBits("10.0.0.0/8".parse().unwrap())),
            ("a.*.com:1", EndpointError::Host(HostError::Wildcard)),
            ("::1:80", EndpointError::Host(HostError::Host)),
            ("tcp://a:80", EndpointError::Network),
        ] {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn addresses_are_meant_by_network_and_port() {
        let contains = |endpoint: &str, address: &str| {
            Endpoint::parse(endpoint).unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8:5432", "10.1.2.3:5432"));
        assert!(contains("10.0.0.0/8:5432", "[::ffff:10.1.2.3]:5432"));
        assert!(contains("10.0.0.0/8:*", "10.1.2.3:1"));
        assert!(!contains("10.0.0.0/8:5432", "10.1.2.3:5433"));
        assert!(!contains("10.0.0.0/8:5432", "11.1.2.3:5432"));
        // A name is no address, whatever it leads to.
        assert!(!contains("localhost:5432", "127.0.0.1:5432"));
    }
}
