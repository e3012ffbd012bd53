//! Where many tenants share a machine: what of it no manifest can name.

use std::path::{Component, Path};

use dhow_manifest::{Grants, Sockets};
use thiserror::Error;

/// A grant that is about the machine, which belongs to all of its tenants.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Beyond {
    what: String,
    help: &'static str,
}

impl Beyond {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        self.help
    }
}

/// What of `grants` is not a tenant's own. A folder has one name and no more: what a guest has made in one
/// of its folders, a link for one, can be no part of the path of another.
pub(crate) fn beyond(grants: &Grants) -> Vec<Beyond> {
    let mut beyond = Vec::new();
    for (guest, folder) in &grants.files {
        if !is_one_name(&folder.host) {
            beyond.push(Beyond {
                what: format!(
                    "`{guest}` is the folder {} of the machine, and on a server folders are the tenant's \
                     own",
                    folder.host.display()
                ),
                help: "name a folder of the tenant's, which is made where there is none: \
                       grants.files = { \"/data\" = { folder = \"data\", write = true } }",
            });
        }
    }
    if let Some(ca) = &grants.ca {
        beyond.push(Beyond {
            what: format!(
                "{} is a file of the machine, and on a server none can be named",
                ca.display()
            ),
            help: "remove grants.ca",
        });
    }
    let Sockets { tcp_listen, udp_listen, .. } = &grants.sockets;
    for address in tcp_listen.iter().chain(udp_listen) {
        beyond.push(Beyond {
            what: format!("{address} is a port of the machine, and on a server none can be taken"),
            help: "remove it, and answer HTTP requests instead",
        });
    }
    beyond
}

fn is_one_name(path: &Path) -> bool {
    let mut parts = path.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name() {
        assert!(is_one_name(Path::new("data")));
        for path in ["", ".", "..", "/", "/etc", "a/b", "../a", "a/.."] {
            assert!(!is_one_name(Path::new(path)), "{path}");
        }
    }
}
