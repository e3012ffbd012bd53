//! What a component may do besides computing. What is not granted is not there.

mod endpoint;
mod folder;
mod host;
mod origin;
mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use crate::Name;

pub use endpoint::{Endpoint, EndpointError, Peer};
pub use folder::Folder;
pub use host::{HostError, HostPattern};
pub use origin::{Origin, OriginError, Scheme};
pub(crate) use read::read;

/// The grants of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The origins that HTTP requests may be sent to.
    pub http: Vec<Origin>,
    /// The environment variables it sees.
    pub env: Environment,
    /// What it may do with sockets.
    pub sockets: Sockets,
    /// The key-value stores that it can open, by its own labels for them, and what stands behind
    /// each.
    pub keyvalue: BTreeMap<String, Name>,
    /// The SQL databases that it can open, in the same way.
    pub sql: BTreeMap<String, Name>,
    /// The folders of the host that it sees, by its own paths for them.
    pub files: BTreeMap<String, Folder>,
    /// A file with certificates of authorities that it trusts besides the system's; relative to the
    /// folder of the app.
    pub ca: Option<PathBuf>,
    /// The containers of objects that it can open, in the same way.
    pub blobstore: BTreeMap<String, Name>,
    /// What it reads as configuration, by key.
    pub config: BTreeMap<String, String>,
    /// The secrets of the operator that it reads as configuration, each by its name.
    pub secrets: BTreeSet<Name>,
}

/// What a component may do with sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Where it may connect to.
    pub tcp: Vec<Endpoint>,
    /// Where it may send datagrams to, and get them from.
    pub udp: Vec<Endpoint>,
    /// Where it may listen for connections.
    pub tcp_listen: Vec<SocketAddr>,
    /// Where it may receive datagrams from anybody, and answer them.
    pub udp_listen: Vec<SocketAddr>,
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
