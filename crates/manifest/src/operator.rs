//! The operator's side, `dhow-server.toml`: what stands behind the names that apps use.

use std::{collections::BTreeMap, fmt};

use toml::de::DeTable;

use crate::{
    Fault, Faults, Name,
    app::syntax_fault,
    raw::{self, Table, Value},
};

/// The checked configuration of the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// What the apps call by these names.
    pub backends: BTreeMap<Name, Backend>,
}

/// What stands behind one name, for each capability that it serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// For key-value stores.
    pub keyvalue: Option<KeyValueBackend>,
}

/// What stands behind a key-value store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueBackend {
    /// A file in the data folder.
    Embedded,
    /// The memory of the process: gone when it ends.
    Memory,
    /// A server of Redis or Valkey.
    Redis(ServerUrl),
}

/// The URL of a server, in which `${NAME}` stands for a variable of the environment. It may hold a
/// password, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The URL as it was written, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, _) = self.0.split_once("://").unwrap_or_default();
        write!(f, "{scheme}://…")
    }
}

const BACKEND_EXAMPLE: &str = "[backend.default]\nkeyvalue = \"redb\"";
const KEYVALUE_EXAMPLE: &str =
    r#"keyvalue = "redb", "memory" or "redis://:${REDIS_PASSWORD}@localhost:6379""#;

impl Operator {
    /// Checks the configuration `text`, which came from `file`.
    ///
    /// # Errors
    /// With every fault that was found.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut faults: Vec<_> = errors.iter().map(syntax_fault).collect();
        if faults.is_empty() {
            let mut table = Table::new(document.get_ref(), 0..0, "the configuration");
            let backends =
                table.get("backend").map(|value| read_backends(value, &mut faults));
            table.finish(&mut faults);
            if faults.is_empty() {
                return Ok(Self { backends: backends.unwrap_or_default() });
            }
        }
        Err(Faults::new(file, text, faults))
    }
}

fn read_backends(value: Value<'_>, faults: &mut Vec<Fault>) -> BTreeMap<Name, Backend> {
    let mut backends = BTreeMap::new();
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", BACKEND_EXAMPLE));
        return backends;
    };
    for (key, value) in entries {
        let Some(mut table) = raw::table(value, "a backend", BACKEND_EXAMPLE, faults) else {
            continue;
        };
        let keyvalue = table.get("keyvalue").and_then(|value| read_keyvalue(value, faults));
        table.finish(faults);
        match Name::new(key.get_ref()) {
            Ok(name) => {
                backends.insert(name, Backend { keyvalue });
            }
            Err(error) => faults.push(
                Fault::new(key.span(), format!("`{}` is no name: {error}", key.get_ref()))
                    .help(format!("write: {BACKEND_EXAMPLE}")),
            ),
        }
    }
    backends
}

fn read_keyvalue(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<KeyValueBackend> {
    match raw::string(value, KEYVALUE_EXAMPLE, faults)? {
        "redb" => Some(KeyValueBackend::Embedded),
        "memory" => Some(KeyValueBackend::Memory),
        url if url.starts_with("redis://") || url.starts_with("rediss://") => {
            Some(KeyValueBackend::Redis(ServerUrl(url.to_owned())))
        }
        _ => {
            // What was written may hold a password.
            faults.push(
                Fault::new(value.span(), "no key-value store is called that")
                    .help(format!("write: {KEYVALUE_EXAMPLE}")),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_by_name() {
        let text = "[backend.default]\nkeyvalue = 'redb'\n[backend.cache]\n\
                    keyvalue = 'redis://:secret@localhost'\n[backend.test]\nkeyvalue = 'memory'";
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        let keyvalue = |name: &str| operator.backends[name].keyvalue.clone();
        assert_eq!(keyvalue("default"), Some(KeyValueBackend::Embedded));
        assert_eq!(keyvalue("test"), Some(KeyValueBackend::Memory));
        let shown = format!("{operator:?}");
        assert!(shown.contains("redis://…") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_is_no_configuration() {
        for (text, message) in [
            ("[backend.A]", "`A` is no name: a name has lower-case letters, digits and dashes"),
            ("[backend.a]\nkeyvalue = 'mysql://'", "no key-value store is called that"),
            ("[backend.a]\nkeyvalues = 'redb'", "unknown key `keyvalues` in a backend"),
            ("backend = 1", "expected a table, found an integer"),
            ("[backends]", "unknown key `backends` in the configuration"),
        ] {
            let faults = Operator::parse("dhow-server.toml", text).unwrap_err();
            let first = faults.iter().next().unwrap();
            assert!(first.message.starts_with(message.get(..20).unwrap()), "{}", first.message);
        }
    }
}
