//! Where HTTP requests may go.

use std::fmt;

use thiserror::Error;

use super::host::{HostError, HostPattern, parse_host, split_port};

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

    /// Whether all that `other` means is meant.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        (self.scheme, self.port) == (other.scheme, other.port) && self.host.covers(&other.host)
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
    #[error("{0}")]
    Host(#[from] HostError),
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
            ("https://api.example.com:http", OriginError::Host(HostError::Port)),
            ("https://api.*.com", OriginError::Host(HostError::Wildcard)),
            ("https://*", OriginError::Host(HostError::Wildcard)),
            ("https://", OriginError::Host(HostError::Host)),
            ("https://a..b", OriginError::Host(HostError::Host)),
            ("https://127.1", OriginError::Host(HostError::Host)),
            ("https://*.0.0.1", OriginError::Host(HostError::Host)),
            ("https://a.example:+80", OriginError::Host(HostError::Port)),
            ("https://a.example:::80", OriginError::Host(HostError::Port)),
            ("https://a.example:", OriginError::Host(HostError::Port)),
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
