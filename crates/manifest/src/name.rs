//! Names of apps and components.

use std::{borrow::Borrow, fmt, sync::Arc};

use thiserror::Error;

/// The name of an app, a component or a tenant: a DNS label (RFC 1123, section 2.1), so that it can
/// stand in host names, file names and log fields as it is. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The longest name: that of a DNS label.
const MAX_LENGTH: usize = 63;

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is not a lower-case DNS label that begins with a letter.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let ok = text.len() <= MAX_LENGTH
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if ok { Ok(Self(text.into())) } else { Err(NameError) }
    }

    /// The nearest valid name to `text`, or `fallback` where nothing of it is usable.
    pub fn nearest(text: &str, fallback: &str) -> String {
        let mut name: String = text
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .skip_while(|c| !c.is_ascii_lowercase())
            .take(MAX_LENGTH)
            .collect();
        name.truncate(name.trim_end_matches('-').len());
        if name.is_empty() { fallback.to_owned() } else { name }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A text that is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a name is 1 to 63 lower-case letters, digits and dashes, and begins with a letter")]
pub struct NameError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "shop", "auth-v2", &"x".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "2fast", "a_b", "ü", "a.b", &"x".repeat(64)] {
            assert_eq!(Name::new(bad), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_a_name() {
        for (text, nearest) in
            [("My_App", "my-app"), ("9lives!", "lives"), ("***", "app"), ("a__", "a")]
        {
            assert_eq!(Name::nearest(text, "app"), nearest);
            assert!(Name::new(nearest).is_ok());
        }
    }
}
