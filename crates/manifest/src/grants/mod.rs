//! What a component may do besides computing. What is not granted is not there.

mod describe;
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
    /// The components of the app that it may call by name: `http://cart.internal`.
    pub calls: Vec<Name>,
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
    /// The Redis servers that it can open, in the same way.
    pub redis: BTreeMap<String, Name>,
    /// What it reads as configuration, by key.
    pub config: BTreeMap<String, String>,
    /// The secrets of the operator that it reads as configuration, each by its name.
    pub secrets: BTreeSet<Name>,
}

/// A label as it may be shown: other platforms' guests call a database by an address, which may hold a
/// password.
pub fn without_password(label: &str) -> String {
    let hidden = label.split_once("://").and_then(|(scheme, rest)| {
        let (user, host) = rest.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{host}"))
    });
    let shown = hidden.unwrap_or_else(|| label.to_owned());
    let Some((before, after)) = shown.split_once("password=") else { return shown };
    let end = after.find([' ', '&']).unwrap_or(after.len());
    format!("{before}password=…{}", after.get(end..).unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (label, expected) in [
            ("default", "default"),
            ("postgres://shop@db/shop", "postgres://shop@db/shop"),
            ("postgres://shop:hu@sh@db/shop", "postgres://shop:…@db/shop"),
            ("redis://:hush@cache:6379", "redis://:…@cache:6379"),
            ("host=db password=hush user=shop", "host=db password=… user=shop"),
            ("mysql://db/shop?password=hush&a=b", "mysql://db/shop?password=…&a=b"),
        ] {
            assert_eq!(without_password(label), expected);
        }
    }
}
