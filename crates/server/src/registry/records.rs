//! What stands in the registry, as JSON: fields are added, with a default for records without them.

use std::collections::BTreeMap;

use dhow_api::{Scope, Sticky};
use serde::{Deserialize, Serialize};

/// An app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppRecord {
    /// The number of its newest revision.
    pub(crate) newest: u32,
    /// Percentages by revision; empty, or 100 together.
    pub(crate) traffic: BTreeMap<u32, u8>,
    #[serde(default)]
    pub(crate) sticky: Option<Sticky>,
    /// The revisions that had all the traffic, the latest last: where a rollback goes.
    #[serde(default)]
    pub(crate) whole: Vec<u32>,
    /// What is under way.
    #[serde(default)]
    pub(crate) rollout: Option<RolloutRecord>,
    /// Why the last rollout was ended.
    #[serde(default)]
    pub(crate) rolled_back: Option<String>,
}

/// A revision that has a part of the traffic until it is known to be good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    /// Its number.
    pub(crate) revision: u32,
    /// What the traffic was before.
    pub(crate) before: BTreeMap<u32, u8>,
    /// When it gets all of it, in seconds since 1970.
    pub(crate) until: u64,
}

/// A revision, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevisionRecord {
    /// In seconds since 1970.
    pub(crate) created: u64,
    #[serde(default)]
    pub(crate) tag: Option<String>,
    pub(crate) manifest: String,
    pub(crate) components: BTreeMap<String, ComponentRecord>,
}

/// A component of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ComponentRecord {
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// A file that a tenant has uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    pub(crate) size: u64,
    /// In seconds since 1970.
    pub(crate) created: u64,
}

/// A token, which is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    /// The SHA-256 of the token. It has 256 random bits, so that nothing slower is needed.
    pub(crate) hash: String,
    pub(crate) tenant: String,
    pub(crate) scopes: Vec<Scope>,
    #[serde(default)]
    pub(crate) label: Option<String>,
    /// In seconds since 1970.
    pub(crate) created: u64,
}
