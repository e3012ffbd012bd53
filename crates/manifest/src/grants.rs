//! What a component may do besides computing. What is not granted is not there.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use thiserror::Error;

/// The grants of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The origins that HTTP requests may be sent to.
    pub http: Vec<Origin>,
    /// The environment variables it sees.
    pub env: Environment,
}

/// The environment variables that a component sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Variables whose value stands in the manifest.
    pub fixed: BTreeMap<String, String>,
    /// Variables that are passed on from the environment of the host, which must have them.
    pub inherited: Vec<String>,
}

impl Environment {
    /// Whether `name` can be an environment variable (POSIX.1-2024, section 8.1: no `=`, no NUL).
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && !name.contains(['=', '\0'])
    }
}

/// Where HTTP requests may go: a scheme, a host and a port, as in `https://api.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host or hosts.
    pub host: HostPattern,
    /// The port; the scheme's own where the text has none.
    pub port: u16,
}

/// The scheme of an [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// The scheme as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it names none (RFC 9110, section 4.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The host of an [`Origin`].
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
}

/// An address as it stands in a URL: IPv6 in brackets. Only the usual spelling of an IPv4
/// address is one; `0x7f.1` is a name (and resolves to nothing).
fn parse_address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

impl Origin {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not a scheme of HTTP, a host and at most a port.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(OriginError::Scheme);
        };
        if rest.contains(['/', '?', '#']) {
            return Err(OriginError::Path);
        }
        if rest.contains('@') {
            return Err(OriginError::Credentials);
        }
        let (host, port) = split_port(rest)?;
        Ok(Self {
            scheme,
            host: parse_host(host)?,
            port: port.unwrap_or_else(|| scheme.default_port()),
        })
    }

    /// Whether a request to `host` and `port` by `scheme` is meant.
    pub fn matches(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        self.scheme == scheme && self.port == port && self.host.matches(host)
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), OriginError> {
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = text.get(host_end..).and_then(|rest| rest.find(':')) else {
        return Ok((text, None));
    };
    let (host, port) = text.split_at(host_end + colon);
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(OriginError::Port);
    }
    Ok((host, Some(digits.parse().map_err(|_| OriginError::Port)?)))
}

fn parse_host(host: &str) -> Result<HostPattern, OriginError> {
    if let Some(address) = parse_address(host) {
        return Ok(HostPattern::Address(address));
    }
    if let Some(parent) = host.strip_prefix("*.") {
        return dns_name(parent).map(HostPattern::Below);
    }
    if host.contains('*') {
        return Err(OriginError::Wildcard);
    }
    dns_name(host).map(HostPattern::Name)
}

/// RFC 1123, section 2.1, and underscores, which many private zones use. A last label of digits
/// makes an address of it to every URL parser (WHATWG URL, "ends in a number checker").
fn dns_name(text: &str) -> Result<String, OriginError> {
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
        Err(OriginError::Host)
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// A text that is no [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum OriginError {
    #[error("an origin begins with `https://` or `http://`")]
    Scheme,
    #[error("an origin has no path, query or fragment: grants are for whole hosts")]
    Path,
    #[error("an origin holds no user name or password")]
    Credentials,
    #[error("a port is a number from 0 to 65535")]
    Port,
    #[error("`*` can only stand for the first labels: `https://*.example.com`")]
    Wildcard,
    #[error("not a host name or address")]
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_print_as_they_are_written() {
        for text in [
            "https://api.example.com",
            "http://api.example.com:8080",
            "https://*.example.com",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Origin::parse("https://API.example.com:443").unwrap().to_string(),
            "https://api.example.com"
        );
    }

    #[test]
    fn what_is_no_origin() {
        for (text, error) in [
            ("api.example.com", OriginError::Scheme),
            ("ftp://api.example.com", OriginError::Scheme),
            ("https://api.example.com/", OriginError::Path),
            ("https://me@api.example.com", OriginError::Credentials),
            ("https://api.example.com:http", OriginError::Port),
            ("https://api.*.com", OriginError::Wildcard),
            ("https://*", OriginError::Wildcard),
            ("https://", OriginError::Host),
            ("https://a..b", OriginError::Host),
            ("https://127.1", OriginError::Host),
            ("https://*.0.0.1", OriginError::Host),
            ("https://a.example:+80", OriginError::Port),
            ("https://a.example:::80", OriginError::Port),
            ("https://a.example:", OriginError::Port),
        ] {
            assert_eq!(Origin::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn matching() {
        let matches = |origin: &str, host: &str, port| {
            Origin::parse(origin).unwrap().matches(Scheme::Https, host, port)
        };
        assert!(matches("https://a.example", "A.EXAMPLE", 443));
        assert!(matches("https://a.example", "a.example.", 443));
        assert!(!matches("https://a.example", "a.example", 8443));
        assert!(!matches("http://a.example:443", "a.example", 443));
        assert!(matches("https://*.example", "b.a.example", 443));
        for host in ["example", "anexample", ".example", "example.evil"] {
            assert!(!matches("https://*.example", host, 443), "{host}");
        }
        assert!(matches("https://[::1]", "[0:0::1]", 443));
        for host in ["127.1", "0x7f.0.0.1", "2130706433", "127.0.0.01"] {
            assert!(!matches("https://127.0.0.1", host, 443), "{host}");
        }
    }
}
