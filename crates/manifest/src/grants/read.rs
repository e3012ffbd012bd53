//! The grants of a component, from the manifest's TOML.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Range,
    path::PathBuf,
};

use toml::de::DeValue;

use super::{Endpoint, Environment, Grants, Origin, Sockets, folder};
use crate::{
    Fault, Name,
    raw::{self, Table, Value},
    wiring::{self, Reference},
};

/// The grants of one component. Whom it may call by name goes to `calls`: whether they exist is known
/// later.
pub(crate) fn read(
    mut table: Table<'_>,
    calls: &mut Vec<Reference>,
    faults: &mut Vec<Fault>,
) -> Grants {
    let http = table
        .get("http")
        .map(|value| raw::strings(value, r#"grants.http = ["https://api.example.com"]"#, faults))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(text, span)| {
            let origin = read_origin(text, span.clone(), faults)?;
            let Some(name) = wiring::internal(text, &origin) else { return Some(origin) };
            calls.push(Reference { name: name.to_owned(), span });
            None
        })
        .collect();
    let env = table.get("env").map(|value| read_env(value, faults)).unwrap_or_default();
    let sockets = table.get("sockets").map(|value| read_sockets(value, faults));
    let keyvalue = table
        .get("keyvalue")
        .map(|value| read_labels(value, r#"grants.keyvalue = { sessions = "default" }"#, faults));
    let sql = table
        .get("sql")
        .map(|value| read_labels(value, r#"grants.sql = { orders = "default" }"#, faults));
    let files = table.get("files").map(|value| folder::read(value, faults)).unwrap_or_default();
    let ca = table.get("ca").and_then(|value| raw::string(value, CA_EXAMPLE, faults));
    let blobstore = table
        .get("blobstore")
        .map(|value| read_labels(value, r#"grants.blobstore = { images = "default" }"#, faults));
    let redis = table
        .get("redis")
        .map(|value| read_labels(value, r#"grants.redis = { "redis://cache" = "cache" }"#, faults));
    let config = table.get("config").map(|value| read_config(value, faults)).unwrap_or_default();
    let secrets =
        table.get("secrets").map(|value| read_secrets(value, &config, faults)).unwrap_or_default();
    table.finish(faults);
    Grants {
        http,
        calls: Vec::new(),
        env,
        files,
        ca: ca.map(PathBuf::from),
        config,
        secrets,
        sockets: sockets.unwrap_or_default(),
        keyvalue: keyvalue.unwrap_or_default(),
        sql: sql.unwrap_or_default(),
        blobstore: blobstore.unwrap_or_default(),
        redis: redis.unwrap_or_default(),
    }
}

const CA_EXAMPLE: &str = r#"grants.ca = "ca.pem""#;

fn read_origin(text: &str, span: Range<usize>, faults: &mut Vec<Fault>) -> Option<Origin> {
    Origin::parse(text)
        .map_err(|error| {
            let host = text.split_once("://").map_or(text, |(_, rest)| rest);
            let host = host.split(['/', '?', '#']).next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            let corrected = [format!("https://{host}"), "https://api.example.com".to_owned()]
                .into_iter()
                .find(|candidate| Origin::parse(candidate).is_ok())
                .unwrap_or_default();
            faults.push(
                Fault::new(span, format!("`{text}` is no origin: {error}"))
                    .help(format!("write: \"{corrected}\"")),
            );
        })
        .ok()
}

const ENV_EXAMPLE: &str = r#"grants.env = { LOG = "info" }, or grants.env = ["LOG"] to pass it on"#;

fn read_env(value: Value<'_>, faults: &mut Vec<Fault>) -> Environment {
    let mut env = Environment::default();
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                check_env_name(key.get_ref(), key.span(), faults);
                if let Some(text) = raw::string(value, ENV_EXAMPLE, faults) {
                    env.fixed.insert(key.get_ref().to_string(), text.to_owned());
                }
            }
        }
        DeValue::Array(_) => {
            for (name, span) in raw::strings(value, ENV_EXAMPLE, faults) {
                check_env_name(name, span, faults);
                env.inherited.push(name.to_owned());
            }
        }
        _ => faults.push(raw::wrong_type(value, "a table or an array", ENV_EXAMPLE)),
    }
    env
}

fn check_env_name(name: &str, span: Range<usize>, faults: &mut Vec<Fault>) {
    if !Environment::is_name(name) {
        faults.push(
            Fault::new(span, format!("`{}` is no environment variable", name.escape_debug()))
                .help("a name is not empty and holds no `=`"),
        );
    }
}

const SOCKETS_EXAMPLE: &str = r#"grants.sockets = { tcp = ["db.example.com:5432"] }"#;

fn read_sockets(value: Value<'_>, faults: &mut Vec<Fault>) -> Sockets {
    let Some(mut table) = raw::table(value, "sockets", SOCKETS_EXAMPLE, faults) else {
        return Sockets::default();
    };
    let sockets = Sockets {
        tcp: each(&mut table, "tcp", faults, read_endpoint),
        udp: each(&mut table, "udp", faults, read_endpoint),
        tcp_listen: each(&mut table, "tcp-listen", faults, read_address),
        udp_listen: each(&mut table, "udp-listen", faults, read_address),
    };
    table.finish(faults);
    sockets
}

/// What `read` makes of each string of an array.
fn each<T>(
    table: &mut Table<'_>,
    key: &'static str,
    faults: &mut Vec<Fault>,
    read: impl Fn(&str) -> Result<T, (String, &'static str)>,
) -> Vec<T> {
    let Some(value) = table.get(key) else { return Vec::new() };
    let mut found = Vec::new();
    for (text, span) in raw::strings(value, SOCKETS_EXAMPLE, faults) {
        match read(text) {
            Ok(value) => found.push(value),
            Err((message, help)) => faults.push(
                Fault::new(span, format!("`{text}`: {message}")).help(format!("write: {help}")),
            ),
        }
    }
    found
}

fn read_endpoint(text: &str) -> Result<Endpoint, (String, &'static str)> {
    Endpoint::parse(text).map_err(|error| {
        (error.to_string(), r#""db.example.com:5432", "10.0.0.0/8:5432" or "[::1]:*""#)
    })
}

fn read_address(text: &str) -> Result<SocketAddr, (String, &'static str)> {
    let error = "one listens on an address of this machine and a port";
    text.parse().map_err(|_| (error.to_owned(), r#""127.0.0.1:7000", or "0.0.0.0:7000" for all"#))
}

/// A component's own labels, and what the operator calls what stands behind them.
fn read_labels(
    value: Value<'_>,
    example: &'static str,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Name> {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", example));
        return BTreeMap::new();
    };
    let mut labels = BTreeMap::new();
    for (label, value) in entries {
        // An address may have several words: `host=db user=shop`.
        for word in label.get_ref().split(' ') {
            check_key(word, label.span(), faults);
        }
        let Some(text) = raw::string(value, example, faults) else { continue };
        match Name::new(text) {
            Ok(backend) => {
                labels.insert(label.get_ref().to_string(), backend);
            }
            Err(error) => faults.push(
                Fault::new(value.span(), format!("`{text}` is no name of a backend: {error}"))
                    .help(format!("write: {example}")),
            ),
        }
    }
    labels
}

/// Keys and labels are shown to people, whom nothing in them should deceive.
fn check_key(key: &str, span: Range<usize>, faults: &mut Vec<Fault>) {
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) || key.is_empty() {
        faults.push(
            Fault::new(span, format!("`{}` can't be a key here", key.escape_debug()))
                .help("a key has letters, digits and punctuation of ASCII, and no spaces"),
        );
    }
}

const CONFIG_EXAMPLE: &str = r#"grants.config = { greeting = "hello" }"#;

fn read_config(value: Value<'_>, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let Some(entries) = value.get_ref().as_table() else {
        faults.push(raw::wrong_type(value, "a table", CONFIG_EXAMPLE));
        return BTreeMap::new();
    };
    let mut config = BTreeMap::new();
    for (key, value) in entries {
        check_key(key.get_ref(), key.span(), faults);
        if let Some(text) = raw::string(value, CONFIG_EXAMPLE, faults) {
            config.insert(key.get_ref().to_string(), text.to_owned());
        }
    }
    config
}

fn read_secrets(
    value: Value<'_>,
    config: &BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> BTreeSet<Name> {
    const EXAMPLE: &str = r#"grants.secrets = ["jwt-key"]"#;
    let mut secrets = BTreeSet::new();
    for (text, span) in raw::strings(value, EXAMPLE, faults) {
        match Name::new(text) {
            Ok(_) if config.contains_key(text) => faults.push(
                Fault::new(span, format!("`{text}` is a key of grants.config as well"))
                    .help("a component reads both by their names: call one of them something else"),
            ),
            Ok(name) => drop(secrets.insert(name)),
            Err(error) => faults.push(
                Fault::new(span, format!("`{text}` is no name of a secret: {error}"))
                    .help(format!("write: {EXAMPLE}")),
            ),
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{App, Folder};

    /// The grants of a component that has `text` for them, or the message of the first fault.
    fn parse(text: &str) -> Result<Grants, String> {
        let text = format!("name = \"a\"\n[component.a]\nsource = \"a.wasm\"\n{text}\n");
        match App::parse("dhow.toml", &text) {
            Ok(app) => Ok(app.components().values().next().unwrap().grants.clone()),
            Err(faults) => Err(faults.iter().next().unwrap().message.clone()),
        }
    }

    #[test]
    fn grants_of_every_kind() {
        let grants = parse(
            "grants.sockets = { tcp = [\"db.example.com:5432\"], udp-listen = [\"[::1]:53\"] }\n\
             grants.keyvalue = { sessions = \"default\" }\n\
             grants.sql = { orders = \"main\" }\n\
             grants.files = { \"/site\" = \"public\", \"/\" = { folder = \"data\", write = true } }\n\
             grants.blobstore = { images = \"files\" }\n\
             grants.redis = { \"redis://cache\" = \"cache\" }\n\
             grants.config = { greeting = \"hello\" }\n\
             grants.secrets = [\"jwt-key\"]",
        )
        .unwrap();
        assert_eq!(grants.sockets.tcp[0].to_string(), "db.example.com:5432");
        assert_eq!(grants.sockets.udp_listen, ["[::1]:53".parse().unwrap()]);
        assert_eq!(grants.keyvalue["sessions"].as_str(), "default");
        assert_eq!(grants.sql["orders"].as_str(), "main");
        assert_eq!(grants.files["/site"], Folder { host: "public".into(), quota: None });
        assert_eq!(grants.files["/"].quota, Some(Folder::DEFAULT_QUOTA));
        assert_eq!(grants.blobstore["images"].as_str(), "files");
        assert_eq!(grants.redis["redis://cache"].as_str(), "cache");
        assert_eq!(grants.config["greeting"], "hello");
        assert!(grants.secrets.contains("jwt-key"));
    }

    #[test]
    fn labels_may_be_addresses() {
        let grants = parse(
            "grants.sql = { \"postgres://shop@db/shop\" = \"main\", \
             \"host=db user=shop\" = \"main\" }",
        )
        .unwrap();
        let labels: Vec<_> = grants.sql.keys().collect();
        assert_eq!(labels, ["host=db user=shop", "postgres://shop@db/shop"]);
    }

    #[test]
    fn what_is_no_grant() {
        for (text, message) in [
            ("grants.sockets = []", "expected a table, found an array"),
            ("grants.sockets.tpc = []", "unknown key `tpc` in sockets"),
            ("grants.sockets.tcp = [\"db\"]", "`db`: it names no port; `:*` is any"),
            (
                "grants.sockets.tcp-listen = [\"localhost:80\"]",
                "`localhost:80`: one listens on an address of this machine and a port",
            ),
            ("grants.sql = { \"a\\u001b[2K\" = \"main\" }", "`a\\u{1b}[2K` can't be a key here"),
            ("grants.keyvalue = [\"default\"]", "expected a table, found an array"),
            ("grants.sql = { a = \"The One\" }", "`The One` is no name of a backend: "),
            ("grants.files = { data = \"data\" }", "`data` is no path for a guest"),
            ("grants.files = { \"/a/../b\" = \"data\" }", "`/a/../b` is no path for a guest"),
            ("grants.files = { \"/a\" = { write = true } }", "no folder is named"),
            ("grants.files = { \"/a\" = { folder = \"a\", write = 1 } }", "expected true or false"),
            (
                "grants.files = { \"/a\" = { folder = \"a\", quota = \"1MiB\" } }",
                "the folder has a quota, and can't be written to",
            ),
            (
                "grants.files = { \"/a\" = { folder = \"a\", write = true, quota = \"1KiB\" } }",
                "`1KiB`: a quota is at least 64KiB",
            ),
            ("grants.config = { a = 1 }", "expected a string, found an integer"),
            ("grants.secrets = [\"JWT\"]", "`JWT` is no name of a secret: "),
            (
                "grants.config = { a = \"\" }\ngrants.secrets = [\"a\"]",
                "`a` is a key of grants.config as well",
            ),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.starts_with(message), "{text}: {found}");
        }
    }
}
