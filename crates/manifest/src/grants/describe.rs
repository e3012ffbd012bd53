//! What a component may do, for people.

use std::fmt;

use super::{Endpoint, Folder, Grants, Origin, Sockets, without_password};
use crate::Name;

impl Grants {
    /// What a component may do, each as the end of "it may". No values of configuration or
    /// variables, which may be secrets, and no passwords.
    pub fn describe(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.reach().iter().map(ToString::to_string).collect();
        let keys: Vec<_> = self.config.keys().map(String::as_str).collect();
        let secrets: Vec<_> = self.secrets.iter().map(Name::as_str).collect();
        let variables: Vec<_> =
            self.env.fixed.keys().chain(&self.env.inherited).map(String::as_str).collect();
        for (what, names) in
            [("configuration", keys), ("secrets", secrets), ("variables", variables)]
        {
            if !names.is_empty() {
                lines.push(format!("read the {what} {}", names.join(", ")));
            }
        }
        if lines.is_empty() {
            lines.push("answer, and nothing else".to_owned());
        }
        lines
    }

    /// Everything it may do, one by one.
    pub(crate) fn capabilities(&self) -> Vec<Capability<'_>> {
        let mut all = self.reach();
        all.extend(self.config.keys().map(|key| Capability::Key(key)));
        all.extend(self.secrets.iter().map(Capability::Secret));
        all.extend(self.env.fixed.keys().map(|name| Capability::Variable(name)));
        all.extend(self.env.inherited.iter().map(|name| Capability::Inherited(name)));
        all
    }

    /// Whom and what it may reach.
    fn reach(&self) -> Vec<Capability<'_>> {
        let named =
            |what: &str, name: &dyn fmt::Display| Capability::Other(format!("{what} {name}"));
        let labelled = |what: &str, label: &str, name: &Name| {
            Capability::Other(format!("open the {what} {label}: {name}"))
        };
        let mut all: Vec<_> = self.http.iter().map(Capability::Request).collect();
        all.extend(self.calls.iter().map(|name| Capability::Other(format!("call {name} by name"))));
        let Sockets { tcp, udp, tcp_listen, udp_listen } = &self.sockets;
        all.extend(tcp.iter().map(Capability::Connect));
        all.extend(udp.iter().map(Capability::Exchange));
        all.extend(tcp_listen.iter().map(|address| named("listen on", address)));
        all.extend(udp_listen.iter().map(|address| named("receive datagrams on", address)));
        all.extend(self.keyvalue.iter().map(|(label, name)| labelled("store", label, name)));
        all.extend(
            self.sql
                .iter()
                .map(|(label, name)| labelled("database", &without_password(label), name)),
        );
        all.extend(self.files.iter().map(|(guest, folder)| Capability::Folder(guest, folder)));
        all.extend(self.ca.iter().map(|ca| named("trust the authorities in", &ca.display())));
        all.extend(self.blobstore.iter().map(|(label, name)| labelled("container", label, name)));
        all.extend(
            self.redis
                .iter()
                .map(|(label, name)| labelled("Redis server", &without_password(label), name)),
        );
        all
    }
}

/// One thing that a component may do; it prints as the end of "it may".
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Capability<'a> {
    /// Send requests.
    Request(&'a Origin),
    /// Connect.
    Connect(&'a Endpoint),
    /// Exchange datagrams.
    Exchange(&'a Endpoint),
    /// See a folder by the guest's path for it.
    Folder(&'a str, &'a Folder),
    /// Read a key of configuration.
    Key(&'a str),
    /// Read a secret.
    Secret(&'a Name),
    /// Read a variable whose value stands in the manifest.
    Variable(&'a str),
    /// Read a variable of the host's environment.
    Inherited(&'a str),
    /// What is the same where its text is.
    Other(String),
}

impl Capability<'_> {
    /// Whether whoever may do this may do `other` as well.
    pub(crate) fn covers(&self, other: &Capability<'_>) -> bool {
        match (self, other) {
            (Self::Request(one), Capability::Request(two)) => one.covers(two),
            (Self::Connect(one), Capability::Connect(two))
            | (Self::Exchange(one), Capability::Exchange(two)) => one.covers(two),
            // What can be written to can be read, and what has no quota can't be written to.
            (Self::Folder(one, folder), Capability::Folder(two, other)) => {
                one == two && folder.host == other.host && folder.quota >= other.quota
            }
            (Self::Inherited(one), Capability::Variable(two)) => one == two,
            _ => self == other,
        }
    }
}

impl fmt::Display for Capability<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(origin) => write!(f, "send requests to {origin}"),
            Self::Connect(endpoint) => write!(f, "connect to {endpoint}"),
            Self::Exchange(endpoint) => write!(f, "exchange datagrams with {endpoint}"),
            Self::Folder(guest, Folder { host, quota: None }) => {
                write!(f, "read {guest}: {}", host.display())
            }
            Self::Folder(guest, Folder { host, quota: Some(quota) }) => {
                write!(f, "write to {guest}: {}, up to {quota}", host.display())
            }
            Self::Key(key) => write!(f, "read the configuration {key}"),
            Self::Secret(name) => write!(f, "read the secret {name}"),
            Self::Variable(name) => write!(f, "read the variable {name}"),
            Self::Inherited(name) => write!(f, "read the variable {name} of the host"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::App;

    #[test]
    fn what_a_component_may_do_is_said_without_what_is_hidden() {
        for (grants, expected) in [
            ("", &["answer, and nothing else"][..]),
            (
                "secrets = ['b', 'a'], env = ['LOG'], config = { x = 'hush', y = 'hush' }",
                &["read the configuration x, y", "read the secrets a, b", "read the variables LOG"],
            ),
            (
                "sql = { \"postgres://u:hush@db\" = 'main' }, http = ['https://*.example.com'], \
                 files = { '/a' = 'a', '/b' = { folder = 'b', write = true } }",
                &[
                    "send requests to https://*.example.com",
                    "open the database postgres://u:…@db: main",
                    "read /a: a",
                    "write to /b: b, up to 1GiB",
                ],
            ),
        ] {
            let text =
                format!("name = 'a'\n[component.a]\nsource = 'a.wasm'\ngrants = {{ {grants} }}\n");
            let app = App::parse("dhow.toml", &text).unwrap();
            assert_eq!(app.components()["a"].grants.describe(), expected, "{grants}");
        }
    }
}
