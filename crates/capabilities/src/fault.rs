//! What is wrong with grants.

use dhow_manifest::{Grants, Sockets};
use thiserror::Error;

use crate::{
    Beyond, BeyondEgress, MissingVariable, UnboundBackend, UnknownAuthority, UnknownFolder,
    UnknownSecret,
};

/// What is wrong with a grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum GrantFault {
    #[error(transparent)]
    Variable(#[from] MissingVariable),
    #[error(transparent)]
    Backend(#[from] UnboundBackend),
    #[error(transparent)]
    Secret(#[from] UnknownSecret),
    #[error(transparent)]
    Folder(#[from] UnknownFolder),
    #[error(transparent)]
    Authority(#[from] UnknownAuthority),
    #[error(transparent)]
    Egress(#[from] BeyondEgress),
    #[error(transparent)]
    Beyond(#[from] Beyond),
    #[error("it imports `{import}`, and nothing is granted for that")]
    Ungranted { import: String, line: &'static str },
    #[error("it has {grant}, and imports nothing of {interface}")]
    Unused { grant: &'static str, interface: &'static str },
}

impl GrantFault {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Variable(MissingVariable(name)) => format!("set it: export {name}=…"),
            Self::Backend(UnboundBackend(name)) => {
                format!("write in the operator's configuration: [backend.{name}]")
            }
            Self::Secret(UnknownSecret(name)) => format!(
                "set it: dhow secret set {name}\n\
                 or write in the operator's configuration: secrets.{name} = \"${{VARIABLE}}\", \
                 or {{ file = \"PATH\" }}"
            ),
            Self::Folder(folder) => folder.help(),
            Self::Egress(beyond) => beyond.help(),
            Self::Beyond(beyond) => beyond.help().to_owned(),
            Self::Authority(_) => {
                "name a file of certificates in PEM: grants.ca = \"ca.pem\"".to_owned()
            }
            Self::Ungranted { line, .. } => format!("write: {line}"),
            Self::Unused { grant, .. } => format!("remove {grant}"),
        }
    }
}

/// A grant, and the imports that it is for.
struct Use {
    is_granted: bool,
    grant: &'static str,
    /// What the imports begin with; the first is what people call them.
    imports: &'static [&'static str],
    /// The line to write where there is an import and no grant. None where that is no fault: what
    /// every component of some toolchain imports (Python's and Go's: sockets, files, HTTP) needs no
    /// grant while nobody calls it. Stores are imported on purpose.
    line: Option<&'static str>,
}

fn uses(grants: &Grants) -> [Use; 9] {
    let used = |is_granted, grant, imports, line| Use { is_granted, grant, imports, line };
    let has_config = !grants.config.is_empty() || !grants.secrets.is_empty();
    [
        used(!grants.http.is_empty() || !grants.calls.is_empty(), "grants.http", CLIENTS, None),
        used(grants.sockets != Sockets::default(), "grants.sockets", &["wasi:sockets/"], None),
        used(
            !grants.keyvalue.is_empty(),
            "grants.keyvalue",
            &["wasi:keyvalue/", "dhow:keyvalue/", "spin:key-value/"],
            Some(r#"grants.keyvalue = { default = "default" }"#),
        ),
        used(
            !grants.sql.is_empty(),
            "grants.sql",
            &["dhow:sql/", "spin:sqlite/", "spin:postgres/", "spin:mysql/", "wasi:sql/"],
            Some(r#"grants.sql = { default = "default" }"#),
        ),
        used(
            !grants.blobstore.is_empty(),
            "grants.blobstore",
            &["dhow:blobstore/", "wasi:blobstore/"],
            Some(r#"grants.blobstore = { default = "default" }"#),
        ),
        used(
            !grants.redis.is_empty(),
            "grants.redis",
            &["spin:redis/"],
            Some(r#"grants.redis = { "redis://localhost" = "cache" }"#),
        ),
        used(!grants.files.is_empty(), "grants.files", &["wasi:filesystem/"], None),
        used(grants.ca.is_some(), "grants.ca", TRUSTING, None),
        used(has_config, "grants.config or grants.secrets", CONFIGURED, None),
    ]
}

const CLIENTS: &[&str] = &["wasi:http/client", "wasi:http/outgoing-handler"];
const CONFIGURED: &[&str] = &["wasi:config/", "spin:variables/"];
const TRUSTING: &[&str] = &["wasi:tls/", "wasi:http/client", "wasi:http/outgoing-handler"];

/// Grants that nothing is done with, and imports that would need one.
pub(crate) fn unmatched(grants: &Grants, imports: &[String]) -> Vec<GrantFault> {
    let mut faults = Vec::new();
    for Use { is_granted, grant, imports: prefixes, line } in uses(grants) {
        let imported =
            imports.iter().find(|import| prefixes.iter().any(|prefix| import.starts_with(prefix)));
        match (is_granted, imported, line) {
            (true, None, _) => {
                let interface = prefixes.first().copied().unwrap_or_default();
                let interface = interface.trim_end_matches('/');
                faults.push(GrantFault::Unused { grant, interface });
            }
            (false, Some(import), Some(line)) => {
                faults.push(GrantFault::Ungranted { import: import.clone(), line });
            }
            _ => {}
        }
    }
    faults
}
