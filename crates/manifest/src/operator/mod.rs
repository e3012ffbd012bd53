//! The operator's side, `dhow-server.toml`: what stands behind the names that apps use.

mod ceilings;
mod domain;
mod egress;
mod quota;
mod server;
mod shown;
mod telemetry;
mod tenants;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::de::DeTable;

use crate::{
    Fault, Faults, Name,
    app::syntax_fault,
    raw::{self, Table, Value},
};

pub use ceilings::{AboveCeiling, Ceilings};
pub use domain::{Domain, DomainError};
pub use egress::{Egress, Rule};
pub use quota::{AppQuota, CpuShare, Quota};
pub use server::{CertificateFiles, Listen, ServerSettings};
pub use telemetry::Telemetry;
pub use tenants::TenantSettings;

/// The checked configuration of the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// What the apps of tenant `default` call by these names.
    pub backends: BTreeMap<Name, Backend>,
    /// The secrets that apps of tenant `default` may be granted, by name.
    pub secrets: BTreeMap<Name, Secret>,
    /// Where apps may reach.
    pub egress: Egress,
    /// The most that apps may ask for.
    pub limits: Ceilings,
    /// Where the server answers, and how it stops.
    pub server: ServerSettings,
    /// Where traces and metrics go, if they do.
    pub telemetry: Option<Telemetry>,
    /// What each tenant may use that has no quota of its own.
    pub quota: Quota,
    /// The tenants that something is said about.
    pub tenants: BTreeMap<Name, TenantSettings>,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a text, in which `${NAME}` stands for a variable of the environment.
    Text(Hidden),
    /// In a file, which is read whenever the secret is: it can be replaced at any time.
    File(PathBuf),
}

/// What stands behind one name, for each capability that it serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// For key-value stores.
    pub keyvalue: Option<KeyValueBackend>,
    /// For SQL databases.
    pub sql: Option<SqlBackend>,
    /// For objects.
    pub blobstore: Option<BlobBackend>,
    /// The URL of a server of Redis or Valkey, for components that speak to one as such.
    pub redis: Option<Hidden>,
    /// A file with certificates of authorities that are trusted for it, besides the system's.
    pub ca: Option<PathBuf>,
}

/// What stands behind a container of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobBackend {
    /// A folder in the data folder.
    Folder,
    /// The memory of the process: gone when it ends.
    Memory,
    /// A bucket of S3, or of a server that speaks as it does.
    S3(S3Bucket),
}

/// A bucket, and who asks for it. In each text `${NAME}` stands for a variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Bucket {
    /// What it is called.
    pub bucket: Hidden,
    /// The part of it that is meant: what the names of all objects begin with, before a slash.
    pub prefix: Option<Hidden>,
    /// The origin of the server; Amazon's where there is none.
    pub endpoint: Option<Hidden>,
    /// Where the bucket is: `us-east-1`, if nothing is said.
    pub region: Option<Hidden>,
    /// The key's id.
    pub access_key: Hidden,
    /// The key.
    pub secret_key: Hidden,
}

/// What stands behind a SQL database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlBackend {
    /// A file of SQLite's in the data folder.
    Embedded,
    /// A server of Postgres.
    Postgres(Hidden),
    /// A server of MySQL or MariaDB.
    Mysql(Hidden),
}

/// What stands behind a key-value store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueBackend {
    /// A file in the data folder.
    Embedded,
    /// The memory of the process: gone when it ends.
    Memory,
    /// A server of Redis or Valkey.
    Redis(Hidden),
}

/// A text that is or may hold a secret, such as the URL of a server with its password: it is not
/// shown. `${NAME}` in it stands for a variable of the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text as it was written, for whoever needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

const BACKEND_EXAMPLE: &str = "[backend.default]\nkeyvalue = \"redb\"";
const CA_EXAMPLE: &str = r#"ca = "/etc/dhow/db-ca.pem""#;
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
            let operator = Self::read(&mut table, &mut faults);
            table.finish(&mut faults);
            if faults.is_empty() {
                return Ok(operator);
            }
        }
        Err(Faults::new(file, &shown::without_secrets(text), faults))
    }

    fn read(table: &mut Table<'_>, faults: &mut Vec<Fault>) -> Self {
        let backends = table.get("backend").map(|value| read_backends(value, faults));
        let secrets = table.get("secrets").map(|value| read_secrets(value, faults));
        let egress = table.get("egress").map(|value| egress::read(value, faults));
        let limits = table.get("limits").map(|value| ceilings::read(value, faults));
        let server = table.get("server").map(|value| server::read(value, faults));
        let server = server.unwrap_or_default();
        let telemetry = table.get("telemetry").and_then(|value| telemetry::read(value, faults));
        let quota = table.get("quota").map(|value| quota::read(value, Quota::default(), faults));
        let quota = quota.unwrap_or_default();
        let tenants =
            table.get("tenant").map(|value| tenants::read(value, quota, &server.domain, faults));
        Self {
            backends: backends.unwrap_or_default(),
            secrets: secrets.unwrap_or_default(),
            egress: egress.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            server,
            telemetry,
            quota,
            tenants: tenants.unwrap_or_default(),
        }
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
        let sql = table.get("sql").and_then(|value| read_sql(value, faults));
        let blobstore = table.get("blobstore").and_then(|value| read_blobstore(value, faults));
        let redis = table.get("redis").and_then(|value| read_redis(value, faults));
        let ca = table.get("ca").and_then(|value| raw::string(value, CA_EXAMPLE, faults));
        let ca = ca.map(PathBuf::from);
        table.finish(faults);
        match Name::new(key.get_ref()) {
            Ok(name) => {
                backends.insert(name, Backend { keyvalue, sql, blobstore, redis, ca });
            }
            Err(error) => faults.push(
                Fault::new(key.span(), format!("`{}` is no name: {error}", key.get_ref()))
                    .help(format!("write: {BACKEND_EXAMPLE}")),
            ),
        }
    }
    backends
}

const SECRETS_EXAMPLE: &str = r#"jwt-key = "${JWT_KEY}", or { file = "jwt.key" }"#;

fn read_secrets(value: Value<'_>, faults: &mut Vec<Fault>) -> BTreeMap<Name, Secret> {
    let mut secrets = BTreeMap::new();
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", SECRETS_EXAMPLE));
        return secrets;
    };
    for (key, value) in entries {
        let secret = read_secret(value, faults);
        match Name::new(key.get_ref()) {
            Ok(name) => {
                secrets.extend(secret.map(|secret| (name, secret)));
            }
            Err(error) => faults.push(
                Fault::new(key.span(), format!("`{}` is no name: {error}", key.get_ref()))
                    .help(format!("write: {SECRETS_EXAMPLE}")),
            ),
        }
    }
    secrets
}

fn read_secret(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Secret> {
    if let Some(text) = value.get_ref().as_str() {
        return Some(Secret::Text(Hidden(text.to_owned())));
    }
    let mut table = raw::table(value, "a secret", SECRETS_EXAMPLE, faults)?;
    let file = table.get("file").and_then(|value| raw::string(value, SECRETS_EXAMPLE, faults));
    table.finish(faults);
    if file.is_none() {
        faults.push(
            Fault::new(value.span(), "the secret has no file")
                .help(format!("write: {SECRETS_EXAMPLE}")),
        );
    }
    file.map(|file| Secret::File(PathBuf::from(file)))
}

fn read_keyvalue(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<KeyValueBackend> {
    match raw::string(value, KEYVALUE_EXAMPLE, faults)? {
        "redb" => Some(KeyValueBackend::Embedded),
        "memory" => Some(KeyValueBackend::Memory),
        url if url.starts_with("redis://") || url.starts_with("rediss://") => {
            Some(KeyValueBackend::Redis(Hidden(url.to_owned())))
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

fn read_sql(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<SqlBackend> {
    const EXAMPLE: &str = "sql = \"sqlite\", \"postgres://shop:${DB_PASSWORD}@localhost/shop\" or \
                           \"mysql://shop:${DB_PASSWORD}@localhost/shop\"";
    match raw::string(value, EXAMPLE, faults)? {
        "sqlite" => Some(SqlBackend::Embedded),
        url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Some(SqlBackend::Postgres(Hidden(url.to_owned())))
        }
        url if url.starts_with("mysql://") || url.starts_with("mariadb://") => {
            Some(SqlBackend::Mysql(Hidden(url.to_owned())))
        }
        _ => {
            faults.push(
                Fault::new(value.span(), "no SQL database is called that")
                    .help(format!("write: {EXAMPLE}")),
            );
            None
        }
    }
}

fn read_redis(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<Hidden> {
    const EXAMPLE: &str = r#"redis = "redis://:${REDIS_PASSWORD}@localhost:6379""#;
    let url = raw::string(value, EXAMPLE, faults)?;
    if url.starts_with("redis://") || url.starts_with("rediss://") {
        return Some(Hidden(url.to_owned()));
    }
    faults.push(
        Fault::new(value.span(), "that is no URL of Redis").help(format!("write: {EXAMPLE}")),
    );
    None
}

fn read_blobstore(value: Value<'_>, faults: &mut Vec<Fault>) -> Option<BlobBackend> {
    const EXAMPLE: &str = r#"blobstore = "folder", "memory" or { bucket = "images", access-key = "${S3_KEY}", secret-key = "${S3_SECRET}" }"#;
    match value.get_ref().as_str() {
        Some("folder") => return Some(BlobBackend::Folder),
        Some("memory") => return Some(BlobBackend::Memory),
        Some(_) => {
            faults.push(
                Fault::new(value.span(), "no store of objects is called that")
                    .help(format!("write: {EXAMPLE}")),
            );
            return None;
        }
        None => {}
    }
    let mut table = raw::table(value, "a bucket", EXAMPLE, faults)?;
    let mut text = |key: &'static str| {
        let text = raw::string(table.get(key)?, EXAMPLE, faults)?;
        Some(Hidden(text.to_owned()))
    };
    let (bucket, access_key, secret_key) = (text("bucket"), text("access-key"), text("secret-key"));
    let (prefix, endpoint, region) = (text("prefix"), text("endpoint"), text("region"));
    for (key, found) in
        [("bucket", &bucket), ("access-key", &access_key), ("secret-key", &secret_key)]
    {
        if found.is_none() {
            faults.push(
                Fault::new(value.span(), format!("the bucket has no {key}"))
                    .help(format!("write: {EXAMPLE}")),
            );
        }
    }
    table.finish(faults);
    Some(BlobBackend::S3(S3Bucket {
        bucket: bucket?,
        prefix,
        endpoint,
        region,
        access_key: access_key?,
        secret_key: secret_key?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with `text`, in its order.
    pub(super) fn messages(text: &str) -> String {
        let faults = Operator::parse("dhow-server.toml", text).unwrap_err();
        assert!(faults.iter().all(|fault| fault.help.is_some()), "{text}");
        faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn backends_by_name() {
        let text = "[backend.default]\nkeyvalue = 'redb'\n[backend.cache]\n\
                    keyvalue = 'redis://:hush@localhost'\n[backend.test]\nkeyvalue = 'memory'";
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        let keyvalue = |name: &str| operator.backends[name].keyvalue.clone();
        assert_eq!(keyvalue("default"), Some(KeyValueBackend::Embedded));
        assert_eq!(keyvalue("test"), Some(KeyValueBackend::Memory));
        let sql = |url: &str| {
            let text = format!("[backend.default]\nsql = '{url}'");
            Operator::parse("dhow-server.toml", &text).unwrap().backends["default"].sql.clone()
        };
        assert_eq!(sql("sqlite"), Some(SqlBackend::Embedded));
        assert!(matches!(sql("postgresql://localhost/a"), Some(SqlBackend::Postgres(_))));
        for url in ["mysql://localhost/a", "mariadb://localhost/a"] {
            assert!(matches!(sql(url), Some(SqlBackend::Mysql(_))), "{url}");
        }
        let redis = "[backend.cache]\nredis = 'rediss://:hush@localhost'";
        let redis = Operator::parse("dhow-server.toml", redis).unwrap();
        assert!(redis.backends["cache"].redis.is_some());
        let shown = format!("{operator:?}{redis:?}");
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn stores_of_objects() {
        let text = "[backend.a]\nblobstore = 'folder'\n[backend.b]\nblobstore = 'memory'\n\
                    [backend.c]\nblobstore = { bucket = 'images', prefix = 'shop', \
                    endpoint = 'http://127.0.0.1:9000', access-key = 'hush', \
                    secret-key = '${S3_SECRET}' }";
        let operator = Operator::parse("dhow-server.toml", text).unwrap();
        let blobstore = |name: &str| operator.backends[name].blobstore.clone().unwrap();
        assert_eq!(blobstore("a"), BlobBackend::Folder);
        assert_eq!(blobstore("b"), BlobBackend::Memory);
        let BlobBackend::S3(bucket) = blobstore("c") else { panic!("{operator:?}") };
        assert_eq!(bucket.prefix.unwrap().expose(), "shop");
        assert_eq!(bucket.secret_key.expose(), "${S3_SECRET}");
        assert_eq!(bucket.region, None);
        let shown = format!("{operator:?}");
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn what_is_no_configuration() {
        for (text, message) in [
            ("[backend.A]", "`A` is no name: a name has lower-case letters, digits and dashes"),
            ("[backend.a]\nkeyvalue = 'mysql://'", "no key-value store is called that"),
            ("[backend.a]\nsql = 'oracle://'", "no SQL database is called that"),
            ("[backend.a]\nredis = 'localhost:6379'", "that is no URL of Redis"),
            ("[backend.a]\nkeyvalues = 'redb'", "unknown key `keyvalues` in a backend"),
            ("[backend.a]\nblobstore = 's3://b'", "no store of objects is called that"),
            ("[backend.a]\nblobstore = { bucket = 'b' }", "the bucket has no access-key"),
            ("[backend.a]\nblobstore = { buckets = 'b' }", "the bucket has no bucket"),
            ("backend = 1", "expected a table, found an integer"),
            ("[backends]", "unknown key `backends` in the configuration"),
            ("[tenants]", "unknown key `tenants` in the configuration"),
        ] {
            let faults = Operator::parse("dhow-server.toml", text).unwrap_err();
            let first = faults.iter().next().unwrap();
            assert!(first.message.starts_with(message.get(..20).unwrap()), "{}", first.message);
        }
    }
}
