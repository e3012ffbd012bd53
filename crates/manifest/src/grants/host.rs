//! Hosts as grants name them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use thiserror::Error;

/// The host or hosts that a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// A DNS name, in lower case.
    Name(String),
    /// `*.example.com`: every name below `example.com`, and not that name itself.
    Below(String),
    /// An address.
    Address(IpAddr),
}

impl HostPattern {
    /// Whether `host`, the host part of a URL without a port, is meant.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Name(name) => host.eq_ignore_ascii_case(name),
            // An address has no labels, though it looks like it.
            Self::Below(_) if parse_address(host).is_some() => false,
            Self::Below(parent) => {
                let host = host.to_ascii_lowercase();
                host.strip_suffix(parent.as_str())
                    .and_then(|prefix| prefix.strip_suffix('.'))
                    .is_some_and(|prefix| !prefix.is_empty())
            }
            Self::Address(address) => parse_address(host) == Some(*address),
        }
    }

    /// Whether all that `other` means is meant.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(parent), Self::Below(name)) => name == parent || self.matches(name),
            (Self::Address(one), Self::Address(two)) => one == two,
            (_, Self::Name(name)) => self.matches(name),
            _ => false,
        }
    }
}

/// An address as it stands in a URL: IPv6 in brackets. Only the usual spelling of an IPv4
/// address is one; `0x7f.1` is a name (and resolves to nothing).
fn parse_address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

pub(super) fn parse_host(host: &str) -> Result<HostPattern, HostError> {
    if let Some(address) = parse_address(host) {
        return Ok(HostPattern::Address(address));
    }
    if let Some(parent) = host.strip_prefix("*.") {
        return dns_name(parent).map(HostPattern::Below);
    }
    if host.contains('*') {
        return Err(HostError::Wildcard);
    }
    dns_name(host).map(HostPattern::Name)
}

/// RFC 1123, section 2.1, and underscores, which many private zones use. A last label of digits
/// makes an address of it to every URL parser (WHATWG URL, "ends in a number checker").
fn dns_name(text: &str) -> Result<String, HostError> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let ends_in_number =
        text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if text.len() <= 253 && text.split('.').all(is_label) && !ends_in_number {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(HostError::Host)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The host and the port of `HOST` or `HOST:PORT`.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), HostError> {
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = text.get(host_end..).and_then(|rest| rest.find(':')) else {
        return Ok((text, None));
    };
    let (host, port) = text.split_at(host_end + colon);
    Ok((host, Some(parse_port(port.strip_prefix(':').unwrap_or(port))?)))
}

pub(super) fn parse_port(digits: &str) -> Result<u16, HostError> {
    let port = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok());
    port.flatten().ok_or(HostError::Port)
}

/// A text that is no host, or no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum HostError {
    #[error("a port is a number from 0 to 65535")]
    Port,
    #[error("`*` can only stand for the first labels: `*.example.com`")]
    Wildcard,
    #[error("not a host name or address")]
    Host,
}
