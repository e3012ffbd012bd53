//! Where the server answers, and how it stops.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, path::PathBuf, time::Duration};

use super::Domain;
use crate::{
    Fault,
    raw::{self, Table, Value},
};

/// Where the server answers, and how it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The domain of the apps: those of tenant `default` answer at `APP.DOMAIN`, those of others at
    /// `APP.TENANT.DOMAIN`. `localhost`, if nothing is said.
    pub domain: Domain,
    /// Where apps are reached, each address once.
    pub listen: Vec<Listen>,
    /// Where the admin API is reached.
    pub admin: Option<SocketAddr>,
    /// How long requests under way may take after SIGTERM.
    pub grace: Option<Duration>,
    /// How long connections are still accepted after SIGTERM, while the server says that it is not
    /// ready.
    pub linger: Option<Duration>,
}

impl ServerSettings {
    /// The most for `grace` and `linger`: as long as the longest invocation takes.
    pub const MAX_WAIT: Duration = crate::Limits::MAX_TIME;
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            domain: Domain::localhost(),
            listen: Vec::new(),
            admin: None,
            grace: None,
            linger: None,
        }
    }
}

/// An address at which apps are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address; port 0 is any that is free.
    pub address: SocketAddr,
    /// What it shows to clients, by the names in them; where there are none, it is plain HTTP.
    pub certificates: Vec<CertificateFiles>,
}

/// A certificate and its key, in files of PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead from it to an authority.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

const EXAMPLE: &str = "[server]\ndomain = \"apps.example.com\"\nadmin = \"127.0.0.1:9090\"";
const LISTEN_EXAMPLE: &str = "[[server.listen]]\naddress = \"0.0.0.0:443\"";
const CERTIFICATES_EXAMPLE: &str =
    r#"certificates = [{ chain = "/etc/dhow/tls.pem", key = "/etc/dhow/tls.key" }]"#;

pub(super) fn read(value: Value<'_>, faults: &mut Vec<Fault>) -> ServerSettings {
    let Some(mut table) = raw::table(value, "the server", EXAMPLE, faults) else {
        return ServerSettings::default();
    };
    let domain = table.get("domain").and_then(|value| {
        raw::parsed(value, r#"domain = "apps.example.com""#, faults, Domain::parse)
    });
    let mut taken = Taken::default();
    let listen = table.get("listen").map(|value| read_listeners(value, &mut taken, faults));
    let admin = table
        .get("admin")
        .and_then(|value| read_address(value, r#"admin = "127.0.0.1:9090""#, &mut taken, faults));
    let grace = read_wait(&mut table, "grace", r#"grace = "30s""#, faults);
    let linger = read_wait(&mut table, "linger", r#"linger = "2s""#, faults);
    table.finish(faults);
    ServerSettings {
        domain: domain.unwrap_or_else(Domain::localhost),
        listen: listen.unwrap_or_default(),
        admin,
        grace,
        linger,
    }
}

/// The addresses that are taken, and where that is written.
type Taken = BTreeMap<SocketAddr, Range<usize>>;

fn read_listeners(value: Value<'_>, taken: &mut Taken, faults: &mut Vec<Fault>) -> Vec<Listen> {
    let Some(array) = value.get_ref().as_array() else {
        faults.push(raw::wrong_type(value, "an array of tables", LISTEN_EXAMPLE));
        return Vec::new();
    };
    array.iter().filter_map(|value| read_listener(value, taken, faults)).collect()
}

fn read_listener(value: Value<'_>, taken: &mut Taken, faults: &mut Vec<Fault>) -> Option<Listen> {
    let mut table = raw::table(value, "a listener", LISTEN_EXAMPLE, faults)?;
    let address = match table.get("address") {
        Some(value) => read_address(value, r#"address = "0.0.0.0:443""#, taken, faults),
        None => {
            faults.push(
                Fault::new(value.span(), "the listener has no address")
                    .help(format!("write: {LISTEN_EXAMPLE}")),
            );
            None
        }
    };
    let certificates = table.get("certificates").map(|value| read_certificates(value, faults));
    table.finish(faults);
    Some(Listen { address: address?, certificates: certificates.unwrap_or_default() })
}

/// An address that nothing else listens on.
fn read_address(
    value: Value<'_>,
    example: &str,
    taken: &mut Taken,
    faults: &mut Vec<Fault>,
) -> Option<SocketAddr> {
    let text = raw::string(value, example, faults)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        faults.push(
            Fault::new(value.span(), format!("`{text}` is no address of this machine with a port"))
                .help(format!("write: {example}")),
        );
        return None;
    };
    if address.port() != 0
        && let Some(other) = taken.insert(address, value.span())
    {
        for span in [other, value.span()] {
            faults.push(
                Fault::new(span, format!("`{address}` is listened on twice"))
                    .help("remove one of the two, or give it another port"),
            );
        }
    }
    Some(address)
}

fn read_certificates(value: Value<'_>, faults: &mut Vec<Fault>) -> Vec<CertificateFiles> {
    let Some(array) = value.get_ref().as_array() else {
        faults.push(raw::wrong_type(value, "an array of tables", CERTIFICATES_EXAMPLE));
        return Vec::new();
    };
    let mut certificates = Vec::new();
    for value in array {
        let Some(mut table) = raw::table(value, "a certificate", CERTIFICATES_EXAMPLE, faults)
        else {
            continue;
        };
        let chain = read_file(&mut table, "chain", faults);
        let key = read_file(&mut table, "key", faults);
        table.finish(faults);
        if let (Some(chain), Some(key)) = (chain, key) {
            certificates.push(CertificateFiles { chain, key });
        }
    }
    certificates
}

fn read_file(table: &mut Table<'_>, key: &'static str, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    let (text, span) = match table.get(key) {
        Some(value) => (raw::string(value, CERTIFICATES_EXAMPLE, faults)?, value.span()),
        None => ("", table.span.clone()),
    };
    if text.is_empty() {
        faults.push(
            Fault::new(span, format!("the certificate has no file for its {key}"))
                .help(format!("write: {CERTIFICATES_EXAMPLE}")),
        );
        return None;
    }
    Some(PathBuf::from(text))
}

fn read_wait(
    table: &mut Table<'_>,
    key: &'static str,
    example: &str,
    faults: &mut Vec<Fault>,
) -> Option<Duration> {
    let value = table.get(key)?;
    raw::parsed(value, example, faults, |text| {
        let max = ServerSettings::MAX_WAIT;
        let wait = humantime::parse_duration(text).ok().filter(|wait| *wait <= max);
        let max = humantime::format_duration(max);
        wait.ok_or_else(|| format!("{key} is a time of at most {max}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Operator, operator::tests::messages};

    #[test]
    fn a_server_of_everything() {
        let text = r#"
            [server]
            domain = "Apps.Example.com"
            admin = "127.0.0.1:9090"
            grace = "30s"
            linger = "0s"
            [[server.listen]]
            address = "0.0.0.0:443"
            certificates = [{ chain = "/etc/dhow/tls.pem", key = "/etc/dhow/tls.key" }]
            [[server.listen]]
            address = "[::1]:0"
            [[server.listen]]
            address = "[::1]:0""#;
        let server = Operator::parse("dhow-server.toml", text).unwrap().server;
        assert_eq!(server.domain.as_str(), "apps.example.com");
        assert_eq!(server.admin, Some("127.0.0.1:9090".parse().unwrap()));
        assert_eq!(server.grace, Some(Duration::from_secs(30)));
        assert_eq!(server.linger, Some(Duration::ZERO));
        assert_eq!(server.listen.len(), 3);
        assert_eq!(server.listen[0].certificates[0].key, PathBuf::from("/etc/dhow/tls.key"));
        assert!(server.listen[1].certificates.is_empty());
        let server = Operator::parse("dhow-server.toml", "").unwrap().server;
        assert_eq!(server, ServerSettings::default());
        assert_eq!(server.domain.as_str(), "localhost");
    }

    #[test]
    fn what_is_no_server() {
        for (text, expected) in [
            ("server = 1", "expected a table, found an integer"),
            ("server.port = 1", "unknown key `port` in the server"),
            (
                "server.domain = '127.0.0.1'",
                "`127.0.0.1`: a domain is names of letters, digits and dashes with dots between \
                 them, and no address",
            ),
            ("server.admin = ':9090'", "`:9090` is no address of this machine with a port"),
            ("server.grace = '2days'", "`2days`: grace is a time of at most 1day"),
            ("server.linger = 2", "expected a string, found an integer"),
            ("server.listen = '0.0.0.0:80'", "expected an array of tables, found a string"),
            ("server.listen = ['0.0.0.0:80']", "expected a table, found a string"),
            ("[[server.listen]]", "the listener has no address"),
            (
                "server.listen = [{ address = 'localhost:80' }]",
                "`localhost:80` is no address of this machine with a port",
            ),
            (
                "server.listen = [{ address = '[::]:80' }, { address = '[::]:80' }]",
                "`[::]:80` is listened on twice; `[::]:80` is listened on twice",
            ),
            (
                "server = { admin = '[::]:80', listen = [{ address = '[::]:80' }] }",
                "`[::]:80` is listened on twice; `[::]:80` is listened on twice",
            ),
            (
                "server.listen = [{ address = '[::]:80', certificates = [{ chain = 'a' }] }]",
                "the certificate has no file for its key",
            ),
            (
                "server.listen = [{ address = '[::]:80', certificates = [{ key = '' }] }]",
                "the certificate has no file for its chain; the certificate has no file for its key",
            ),
            (
                "server.listen = [{ address = '[::]:80', certificates = 'a' }]",
                "expected an array of tables, found a string",
            ),
        ] {
            assert_eq!(messages(text), expected, "{text}");
        }
    }
}
