//! What a server and its clients say to each other: the requests and answers of the admin API, as JSON.
//!
//! Fields are added in time; a change of meaning is a new path (`/v2/...`). What a client does not
//! know it ignores; what a server does not know it refuses, since it could not do it.

mod problem;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use problem::{Code, Detail, Problem};

/// A revision that is to be made.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The manifest's text. Without one it is that of the revision this one is made from, and so are
    /// the components that are not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The digest of each component's file, by its name: `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
    /// The newest revision that the client knows of, 0 for none. Where there is a newer one, somebody else
    /// was faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u32>,
    /// A word of the user's own to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether components may be granted what they were not before.
    #[serde(default)]
    pub allow_new_grants: bool,
    /// Only check it.
    #[serde(default)]
    pub dry_run: bool,
    /// Leave the traffic where it is.
    #[serde(default)]
    pub no_traffic: bool,
}

/// What became of a [`Deploy`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deployed {
    /// The app.
    pub app: String,
    /// The number of the new revision; none where it was only checked.
    pub revision: Option<u32>,
    /// Where the app answers.
    pub url: String,
    /// Where this revision answers, whatever traffic it has.
    pub preview_url: Option<String>,
    /// The components, with what is new of them.
    pub components: Vec<DeployedComponent>,
    /// What its components may do that they could not before, and the other way round.
    pub changes: Vec<Change>,
    /// The percentage of the traffic that the revision has now.
    pub percent: u8,
    /// What it took to check, compile and link it, in milliseconds.
    pub link_ms: u64,
}

/// A component of a new revision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeployedComponent {
    /// Its name.
    pub name: String,
    /// The digest of its file.
    pub digest: String,
    /// The bytes of its file.
    pub size: u64,
    /// The bytes of the file that it had before; none where it is new.
    pub size_before: Option<u64>,
    /// Whether its file is another than before.
    pub is_changed: bool,
}

/// Something that a component may do now, or may not do any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The component.
    pub component: String,
    /// Whether it gains it, or loses it.
    pub gains: bool,
    /// What it is, as the end of "it may".
    pub what: String,
}

/// Which revisions have how much of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Percentages by revision, 100 together.
    #[schema(value_type = BTreeMap<String, u8>)]
    pub shares: BTreeMap<u32, u8>,
    /// By what a client stays with the revision that it has got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
}

/// By what a client stays with one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sticky {
    /// By the value of a header of this name.
    Header(String),
    /// By the value of a cookie of this name.
    Cookie(String),
}

/// A revision of an app.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    /// Its number.
    pub number: u32,
    /// When it was made (RFC 3339).
    pub created: String,
    /// The user's own word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The version in its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The percentage of the traffic that it has.
    pub percent: u8,
    /// The digests of its components, by name.
    pub components: BTreeMap<String, String>,
    /// Where it answers.
    pub preview_url: String,
    /// Its requests since the server runs, and those of them that came to a 5xx.
    pub requests: u64,
    /// See `requests`.
    pub errors: u64,
}

/// All revisions of an app.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revisions {
    /// The app.
    pub app: String,
    /// Where it answers.
    pub url: String,
    /// The newest first.
    pub revisions: Vec<Revision>,
    /// Why the last rollout was ended, where it did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// Whether a rollout is under way.
    pub is_rolling_out: bool,
}

/// How an app is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    /// Whose it is.
    pub tenant: String,
    /// Its name.
    pub app: String,
    /// Where it answers.
    pub url: String,
    /// Percentages by revision.
    #[schema(value_type = BTreeMap<String, u8>)]
    pub traffic: BTreeMap<u32, u8>,
    /// Of the last minute, for each second.
    pub requests_per_second: f64,
    /// The part of them that came to a 5xx, from 0 to 1.
    pub error_rate: f64,
    /// The median of the last minute, from the head of a request to that of its response, in
    /// milliseconds; none where there was no request.
    pub p50_ms: Option<f64>,
    /// The 99th percentile likewise.
    pub p99_ms: Option<f64>,
    /// Requests since the server runs.
    pub requests: u64,
    /// The bytes of memory of its instances.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Its instances.
    #[serde(default)]
    pub instances: u64,
    /// Seconds of processor time that its guests have taken.
    #[serde(default)]
    pub cpu_seconds: f64,
    /// Requests under way.
    #[serde(default)]
    pub in_flight: u64,
    /// Calls of capabilities that were denied.
    #[serde(default)]
    pub denied: u64,
}

/// How a tenant is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TenantStatus {
    /// Its name.
    pub tenant: String,
    /// The number of its apps, and how many it may have.
    pub apps: u64,
    /// See `apps`.
    pub apps_quota: u64,
    /// The bytes of its components' files, and how many it may have.
    pub stored_bytes: u64,
    /// See `stored_bytes`.
    pub stored_quota: u64,
    /// The bytes of memory of all its instances, and how many it may have.
    pub memory_bytes: u64,
    /// See `memory_bytes`.
    pub memory_quota: u64,
    /// Its instances.
    pub instances: u64,
    /// The processor time that its instances have had since the server runs, in seconds.
    pub cpu_seconds: f64,
    /// The processor time for each second that it may have.
    pub cpu_quota: f64,
    /// Its requests under way.
    pub in_flight: u64,
    /// Bytes of its guests' logs that were dropped, since there were too many.
    pub log_bytes_dropped: u64,
}

/// How a server is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Dhow's version.
    pub version: String,
    /// For how long it runs, in seconds.
    pub uptime_seconds: u64,
    /// Requests under way, those that only finish included.
    pub in_flight: u64,
    /// The apps, those that had requests in the last minute first; at most 1,000 of them.
    pub apps: Vec<AppStatus>,
    /// The number of all apps.
    pub apps_total: u64,
    /// The tenants.
    pub tenants: Vec<TenantStatus>,
}

/// A token that is to be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is.
    #[schema(pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub tenant: String,
    /// What it is for.
    #[schema(min_items = 1)]
    pub scopes: Vec<Scope>,
    /// What it is called, for whoever looks through the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A token that was made: the only time that it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// What it is known by.
    pub id: String,
    /// The token itself.
    pub token: String,
}

/// A token in the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// What it is known by.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// What a token is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// To see how the tenant's apps are.
    Read,
    /// To change them, and to see how they are.
    Deploy,
    /// To do everything, for every tenant.
    Admin,
}

/// The value of a secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// From 1 byte to 64 KiB.
    #[schema(min_length = 1, max_length = 65536)]
    pub value: String,
}

/// One line of a log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Counts up, for all lines of a server.
    pub number: u64,
    /// When (RFC 3339).
    pub time: String,
    /// The app.
    pub app: String,
    /// The component that has written it.
    pub component: String,
    /// Where to: `stdout`, `stderr`, or the level of a message by wasi:logging.
    pub stream: String,
    /// What.
    pub text: String,
}

/// Whose a token is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The tenant that it acts for.
    pub tenant: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
}
