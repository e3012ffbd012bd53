//! Where a request goes.

use dhow_manifest::Scheme;
use http::{HeaderValue, Uri, uri::Authority};

/// What the address of a request says of it, looked at once.
#[derive(Debug, Clone)]
pub(super) struct Target {
    scheme: Scheme,
    authority: Authority,
    /// How much of the authority is the host.
    host: usize,
    port: Option<u16>,
}

impl Target {
    /// That of an absolute address. Credentials in one are sent nowhere, and can pass for a host to whoever reads:
    /// with those it is none.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?.clone();
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().len();
        let rest = authority.as_str().get(host..).unwrap_or_default();
        let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
        Some(Self { scheme, authority, host, port })
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, and the port if it is there.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn host(&self) -> &str {
        self.authority.as_str().get(..self.host).unwrap_or_default()
    }

    /// The port, which is the scheme's own where there is none.
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or_else(|| self.scheme.default_port())
    }

    /// Whether it says which port.
    pub(super) fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// What a `Host` header says of it: with the port, unless that is the scheme's own (RFC 9110,
    /// section 7.2).
    pub(super) fn host_header(&self) -> Option<HeaderValue> {
        let is_default = self.port() == self.scheme.default_port();
        let text = if is_default { self.host() } else { self.authority.as_str() };
        HeaderValue::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Option<Target> {
        Target::of(&uri.parse().unwrap())
    }

    #[test]
    fn what_addresses_say() {
        for (uri, host, port, header) in [
            ("http://example.com/", "example.com", 80, "example.com"),
            ("http://example.com:80/", "example.com", 80, "example.com"),
            ("http://example.com:443/", "example.com", 443, "example.com:443"),
            ("https://example.com:443/x", "example.com", 443, "example.com"),
            ("https://[::1]:8443", "[::1]", 8443, "[::1]:8443"),
            ("https://[::1]", "[::1]", 443, "[::1]"),
        ] {
            let target = target(uri).unwrap();
            assert_eq!((target.host(), target.port()), (host, port), "{uri}");
            assert_eq!(target.host_header().unwrap(), header, "{uri}");
        }
    }

    #[test]
    fn what_says_nothing() {
        for uri in ["/path", "ftp://example.com/", "http://a@example.com/", "example.com:80"] {
            assert!(target(uri).is_none(), "{uri}");
        }
    }
}
