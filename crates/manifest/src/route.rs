//! Which paths an entry answers.

use std::fmt;

use thiserror::Error;

use crate::Entry;

/// An `[[http]]` entry: requests whose path matches go to the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The pattern that the path of a request is held against.
    pub path: PathPattern,
    /// Who answers.
    pub entry: Entry,
}

/// A pattern for the path of a request:
///
/// - `/cart` is that path and no other;
/// - `/cart/...` is `/cart`, `/cart/` and everything below; `/...` is every path;
/// - `/cart/:id` is one non-empty segment in the place of `:id`.
///
/// Where several match, the more exact one wins: text before `:name` before `...`.
/// Paths are compared as they were sent, without decoding percent escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
}

/// Longer than any path that people write.
const MAX_LENGTH: usize = 1_024;

/// A part of a [`PathPattern`] between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Text(String),
    /// `:name`, one segment of any text.
    Parameter(String),
    /// `...`, all that follows. Only ever the last segment.
    Rest,
}

impl PathPattern {
    /// Matches every path.
    pub fn everything() -> Self {
        Self { text: "/...".to_owned(), segments: vec![Segment::Rest] }
    }

    /// Checks `text`.
    ///
    /// # Errors
    /// When it does not begin with `/`, or `...` is not its last segment, or it holds
    /// characters that no path of a request has.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let rest = text.strip_prefix('/').ok_or(PathPatternError::NoSlash)?;
        if text.len() > MAX_LENGTH {
            return Err(PathPatternError::TooLong);
        }
        let mut segments = Vec::new();
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            segments.push(match part {
                "..." if is_last => Segment::Rest,
                "..." => return Err(PathPatternError::RestNotLast),
                "*" | "**" => return Err(PathPatternError::Star),
                "" if !is_last => return Err(PathPatternError::EmptySegment),
                part if part.starts_with(':') => parameter(part)?,
                part => literal(part)?,
            });
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments after the first slash. A pattern that ends in a slash ends in an empty text.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether `path` is matched.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut parts = rest.split('/');
        for segment in &self.segments {
            let is_matched = match segment {
                Segment::Rest => return true,
                Segment::Text(text) => parts.next() == Some(text),
                Segment::Parameter(_) => parts.next().is_some_and(|part| !part.is_empty()),
            };
            if !is_matched {
                return false;
            }
        }
        parts.next().is_none()
    }

    /// Whether the two match the very same paths: parameters may differ in name.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Text(one), Segment::Text(two)) => one == two,
                (Segment::Parameter(_), Segment::Parameter(_)) => true,
                (Segment::Rest, Segment::Rest) => true,
                _ => false,
            })
    }
}

fn parameter(part: &str) -> Result<Segment, PathPatternError> {
    let name = part.trim_start_matches(':');
    let ok = !name.is_empty()
        && part.len() == name.len() + 1
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if ok { Ok(Segment::Parameter(name.to_owned())) } else { Err(PathPatternError::Parameter) }
}

fn literal(part: &str) -> Result<Segment, PathPatternError> {
    if part.bytes().all(is_pchar) {
        Ok(Segment::Text(part.to_owned()))
    } else {
        Err(PathPatternError::Character)
    }
}

/// RFC 3986, section 3.3: `pchar`.
fn is_pchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&b)
}

/// Whether `text` is the path of a request, without a query.
pub(crate) fn is_path(text: &str) -> bool {
    text.len() <= MAX_LENGTH
        && text.starts_with('/')
        && text.bytes().all(|b| b == b'/' || is_pchar(b))
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A text that is no [`PathPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum PathPatternError {
    #[error("a path begins with `/`")]
    NoSlash,
    #[error("a path has at most {MAX_LENGTH} bytes")]
    TooLong,
    #[error("`...` stands for all that follows, so it can only come last")]
    RestNotLast,
    #[error("`*` is no wildcard here: write `:name` for one segment, `...` for all that follows")]
    Star,
    #[error("a path has no empty segment: `//`")]
    EmptySegment,
    #[error("a parameter is `:` and a name of letters, digits, `_` and `-`")]
    Parameter,
    #[error("a path holds only the characters of RFC 3986, others percent-encoded; no query")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_paths_a_pattern_matches() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a/...", "/a", true),
            ("/a/...", "/a/", true),
            ("/a/...", "/a/b/c", true),
            ("/a/...", "/ab", false),
            ("/...", "/", true),
            ("/:id", "/a", true),
            ("/:id", "/", false),
            ("/:id/b", "/a/b", true),
            ("/:id/b", "/a/c", false),
        ] {
            let found = PathPattern::parse(pattern).unwrap().matches(path);
            assert_eq!(found, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn patterns() {
        let segments = |text: &str| PathPattern::parse(text).unwrap().segments;
        assert_eq!(segments("/"), [Segment::Text(String::new())]);
        assert_eq!(segments("/..."), [Segment::Rest]);
        assert_eq!(
            segments("/a/:id/..."),
            [Segment::Text("a".into()), Segment::Parameter("id".into()), Segment::Rest]
        );
        for (bad, error) in [
            ("", PathPatternError::NoSlash),
            ("a", PathPatternError::NoSlash),
            ("/.../a", PathPatternError::RestNotLast),
            ("/*", PathPatternError::Star),
            ("//a", PathPatternError::EmptySegment),
            ("/:", PathPatternError::Parameter),
            ("/::a", PathPatternError::Parameter),
            ("/a b", PathPatternError::Character),
            ("/a?b", PathPatternError::Character),
            ("/{a}", PathPatternError::Character),
        ] {
            assert_eq!(PathPattern::parse(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn patterns_that_differ_in_parameter_names_are_the_same() {
        let parse = |text| PathPattern::parse(text).unwrap();
        assert!(parse("/a/:x").is_same_as(&parse("/a/:y")));
        assert!(!parse("/a/:x").is_same_as(&parse("/a/x")));
        assert!(!parse("/a").is_same_as(&parse("/a/")));
    }
}
