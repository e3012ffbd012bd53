//! What a client is told where something can't be done.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Change;

/// Why something was not done. Nothing of it was.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Each fault, where there may be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// What components would newly be granted, where that was not allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// One fault of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Detail {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// What kind of problem it is: programs decide by it, and it stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No token, or one that the server does not know.
    Unauthorized,
    /// The token is not for that.
    Forbidden,
    /// There is no such thing, or not any more.
    NotFound,
    /// Somebody else changes it, or has.
    Conflict,
    /// The request makes no sense.
    Invalid,
    /// The manifest has faults, which are the details.
    Manifest,
    /// The server does not have all components: the details are their digests.
    MissingBlobs,
    /// What was uploaded has another digest.
    DigestMismatch,
    /// The components do not fit, together or with the host: the details say why.
    Unlinkable,
    /// Components would be granted what they were not before.
    NewGrants,
    /// The new revision does not answer as it should.
    Unhealthy,
    /// The tenant has as much as it may have.
    Quota,
    /// What was sent is longer than it may be.
    TooLarge,
    /// The server's disk is full.
    DiskFull,
    /// The server can't do it now.
    Unavailable,
    /// The server is at fault: the reason is in its log.
    Internal,
}

impl Problem {
    /// A problem of which only this is known.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, details: Vec::new(), changes: Vec::new() }
    }

    /// With what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With the faults that it is made of.
    pub fn details(mut self, details: impl IntoIterator<Item = Detail>) -> Self {
        self.details = details.into_iter().collect();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
