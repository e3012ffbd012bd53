//! Names in DNS that the server answers to.

use std::fmt;

use thiserror::Error;

/// A name in DNS, in lower case and without a dot at its end: `apps.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// The longest name (RFC 1035, section 2.3.4), as it is written: without the root's empty label,
/// 253 characters are 255 octets on the wire.
const MAX_LENGTH: usize = 253;

impl Domain {
    /// Checks `text`, which may be in any case.
    ///
    /// # Errors
    /// When it is not labels of RFC 1123, section 2.1, with dots between them, or when its last
    /// label is a number: to every URL parser that is an address (WHATWG URL, "ends in a number
    /// checker").
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let ends_in_number =
            text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if text.len() <= MAX_LENGTH && text.split('.').all(is_label) && !ends_in_number {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(DomainError)
        }
    }

    /// `localhost`, which leads to this machine and nowhere else (RFC 6761, section 6.3).
    pub fn localhost() -> Self {
        Self("localhost".to_owned())
    }

    /// Whether `other` is this name or below it.
    pub fn contains(&self, other: &Self) -> bool {
        let rest = other.0.strip_suffix(self.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A text that is no [`Domain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a domain is names of letters, digits and dashes with dots between them, and no address")]
pub struct DomainError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_names_in_dns() {
        let (label, long) = ("x".repeat(63), ["x".repeat(49).as_str(); 5].join("."));
        for (text, expected) in [
            ("localhost", Some("localhost")),
            ("Apps.Example.COM", Some("apps.example.com")),
            ("3com.example", Some("3com.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            (&label, Some(&*label)),
            (&format!("{long}.abc"), Some(&*format!("{long}.abc"))),
            (&format!("{long}.abcd"), None),
            (&"x".repeat(64), None),
            ("", None),
            ("a..b", None),
            ("example.com.", None),
            (".example.com", None),
            ("-a.example", None),
            ("a-.example", None),
            ("a_b.example", None),
            ("*.example.com", None),
            ("example.com:443", None),
            ("bücher.example", None),
            ("127.0.0.1", None),
            ("[::1]", None),
        ] {
            let found = Domain::parse(text).ok();
            assert_eq!(found.as_ref().map(Domain::as_str), expected, "{text}");
        }
    }

    #[test]
    fn a_domain_contains_itself_and_what_is_below() {
        let domain = Domain::parse("example.com").unwrap();
        for (other, expected) in [
            ("example.com", true),
            ("EXAMPLE.com", true),
            ("a.b.example.com", true),
            ("badexample.com", false),
            ("com", false),
        ] {
            assert_eq!(domain.contains(&Domain::parse(other).unwrap()), expected, "{other}");
        }
    }
}
