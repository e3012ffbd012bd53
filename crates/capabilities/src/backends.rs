//! What stands behind the names that manifests use, as the operator has bound them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use dhow_manifest::{Backend, Name, Operator};
use thiserror::Error;

use crate::{
    MissingVariable, SecretFolder,
    audit::Audit,
    blobstore::{self, BucketError},
    config::Secrets,
    egress::{Egress, NameServerError},
    files::Volumes,
    keyvalue::{self, Store},
    redis::{self, RedisUrlError},
    sql::{self, Database, MysqlUrlError, PostgresUrlError},
    tls::{Tls, UnknownAuthority},
};

/// The backends of the process. Each is opened when it is first used.
pub struct Backends {
    pub(crate) keyvalue: Bound<dyn Store>,
    pub(crate) sql: Bound<dyn Database>,
    pub(crate) blobstore: Bound<blobstore::Store>,
    pub(crate) redis: Bound<redis::Server>,
    pub(crate) secrets: Secrets,
    pub(crate) volumes: Volumes,
    /// What guests may reach.
    pub(crate) egress: Arc<Egress>,
    /// For all connections, those of guests' requests too: the system's roots are read once.
    pub(crate) tls: Arc<Tls>,
    /// Whether the machine is shared with others.
    pub(crate) is_confined: bool,
}

impl Backends {
    /// No backend at all.
    pub fn none() -> Self {
        Self {
            keyvalue: Bound::none(),
            sql: Bound::none(),
            blobstore: Bound::none(),
            redis: Bound::none(),
            secrets: Secrets::new(None),
            volumes: Volumes::new(PathBuf::new()),
            egress: Arc::default(),
            tls: Arc::default(),
            is_confined: false,
        }
    }

    /// Those of a tenant that shares the machine with others: no grant can name a folder, a file or a port
    /// of the machine, nor reach it or its neighbours by their addresses. Folders are made where there are
    /// none.
    pub fn confined(mut self) -> Self {
        self.is_confined = true;
        self.egress.confine();
        self.volumes.make_missing();
        self
    }

    /// What `operator` has bound; and for every other name an embedded default in the folder
    /// `data`, or nothing where there is none. Folders that are granted are relative to `root`.
    /// Secrets that the operator does not have are in `secrets`. `environment` gives the variables
    /// that the configuration refers to.
    ///
    /// # Errors
    /// With everything that is bound to what can't be.
    pub fn new(
        operator: &Operator,
        data: Option<PathBuf>,
        root: PathBuf,
        secrets: Option<SecretFolder>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<BackendError>> {
        let tls = Arc::<Tls>::default();
        let (mut stores, mut databases, mut blobs, mut servers) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut errors = Vec::new();
        for (name, backend) in &operator.backends {
            let data = data.as_deref();
            let Backend { keyvalue, sql, blobstore, redis, ca } = backend;
            let Some((_, tls)) = bound(name, Some(trusting(ca.as_deref(), &tls)), &mut errors)
            else {
                continue;
            };
            let store =
                keyvalue.as_ref().map(|it| keyvalue::bind(name, it, data, &tls, environment));
            stores.extend(bound(name, store, &mut errors));
            let database = sql.as_ref().map(|it| sql::bind(name, it, data, &tls, environment));
            databases.extend(bound(name, database, &mut errors));
            let blob =
                blobstore.as_ref().map(|it| blobstore::bind(name, it, data, &tls, environment));
            blobs.extend(bound(name, blob, &mut errors));
            let server = redis.as_ref().map(|url| redis::bind(name, url, &tls, environment));
            servers.extend(bound(name, server, &mut errors));
        }
        let egress = Egress::new(&operator.egress).map_err(|fault| {
            let name = "dns".to_owned();
            errors.push(BackendError { what: "rules for egress", name, fault: fault.into() });
        });
        let secrets = bind_secrets(operator, secrets, environment, &mut errors);
        let Ok(egress) =
            egress.and_then(|egress| if errors.is_empty() { Ok(egress) } else { Err(()) })
        else {
            return Err(errors);
        };
        let keyvalue = data.clone().map(|data| -> Embed<dyn Store> {
            Box::new(move |name| keyvalue::embedded(name, &data))
        });
        let sql = data.clone().map(|data| -> Embed<dyn Database> {
            Box::new(move |name| sql::embedded(name, &data))
        });
        let blobstore = data.map(|data| -> Embed<blobstore::Store> {
            Box::new(move |name| blobstore::embedded(name, &data))
        });
        Ok(Self {
            keyvalue: Bound { by_name: Mutex::new(stores), embedded: keyvalue },
            sql: Bound { by_name: Mutex::new(databases), embedded: sql },
            blobstore: Bound { by_name: Mutex::new(blobs), embedded: blobstore },
            redis: Bound { by_name: Mutex::new(servers), embedded: None },
            secrets,
            volumes: Volumes::new(root),
            egress: Arc::new(egress),
            tls,
            is_confined: false,
        })
    }
}

/// What was bound as `name`, if anything was; what is wrong with it goes to `errors`.
fn bound<T>(
    name: &Name,
    result: Option<Result<T, BindFault>>,
    errors: &mut Vec<BackendError>,
) -> Option<(Name, T)> {
    let error = |fault| BackendError { what: "backend", name: name.to_string(), fault };
    result?.map_err(|fault| errors.push(error(fault))).ok().map(|bound| (name.clone(), bound))
}

/// TLS that trusts the authorities in the file `ca`, where one is named.
fn trusting(ca: Option<&Path>, system: &Arc<Tls>) -> Result<Arc<Tls>, BindFault> {
    Ok(match ca {
        Some(ca) => Arc::new(Tls::trusting(ca)?),
        None => system.clone(),
    })
}

fn bind_secrets(
    operator: &Operator,
    set: Option<SecretFolder>,
    environment: &dyn Fn(&str) -> Option<String>,
    errors: &mut Vec<BackendError>,
) -> Secrets {
    let mut secrets = Secrets::new(set);
    for (name, secret) in &operator.secrets {
        if let Err(fault) = secrets.bind(name, secret, environment) {
            errors.push(BackendError { what: "secret", name: name.to_string(), fault });
        }
    }
    secrets
}

/// What is bound of one kind, by the operator's names.
pub(crate) struct Bound<T: ?Sized> {
    by_name: Mutex<BTreeMap<Name, Arc<T>>>,
    /// Makes one of its own for a name that nobody has bound.
    embedded: Option<Embed<T>>,
}

type Embed<T> = Box<dyn Fn(&Name) -> Arc<T> + Send + Sync>;

impl<T: ?Sized> Bound<T> {
    fn none() -> Self {
        Self { by_name: Mutex::default(), embedded: None }
    }

    fn get(&self, name: &Name) -> Result<Arc<T>, UnboundBackend> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = by_name.get(name) {
            return Ok(found.clone());
        }
        let embedded = self.embedded.as_ref().ok_or_else(|| UnboundBackend(name.clone()))?;
        let made = embedded(name);
        by_name.insert(name.clone(), made.clone());
        Ok(made)
    }
}

/// What one component can open, by its own labels.
pub(crate) struct Labels<T: ?Sized>(Arc<Labelled<T>>);

struct Labelled<T: ?Sized> {
    audit: Audit,
    by_label: BTreeMap<String, Arc<T>>,
}

impl<T: ?Sized> Clone for Labels<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> Labels<T> {
    /// What stands behind `labels`, each with the operator's name for it.
    pub(crate) fn grant(
        audit: &Audit,
        labels: &BTreeMap<String, Name>,
        bound: &Bound<T>,
    ) -> Result<Self, Vec<UnboundBackend>> {
        let mut by_label = BTreeMap::new();
        let mut unbound = Vec::new();
        for (label, name) in labels {
            match bound.get(name) {
                Ok(found) => drop(by_label.insert(label.clone(), found)),
                Err(error) => unbound.push(error),
            }
        }
        if !unbound.is_empty() {
            return Err(unbound);
        }
        Ok(Self(Arc::new(Labelled { audit: audit.clone(), by_label })))
    }

    /// Nothing to open.
    pub(crate) fn none(audit: &Audit) -> Self {
        Self(Arc::new(Labelled { audit: audit.clone(), by_label: BTreeMap::new() }))
    }

    /// Whether something is granted for `label`.
    pub(crate) fn has(&self, label: &str) -> bool {
        self.0.by_label.contains_key(label)
    }

    /// What `label` is granted for. What is not is logged, with the line of `key` that is missing.
    pub(crate) fn open(&self, label: &str, key: &'static str) -> Option<&Arc<T>> {
        let Labelled { audit, by_label } = &*self.0;
        let found = by_label.get(label);
        if found.is_none() {
            let label = shown(label);
            audit.deny(
                key,
                format_args!("{key} {label}"),
                format_args!("to allow it: grants.{key} = {{ {label} = \"default\" }}"),
            );
        }
        found
    }
}

/// A guest's label as a key of a manifest, but for a password in it.
fn shown(label: &str) -> String {
    let label = dhow_manifest::without_password(label);
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !label.is_empty() && label.bytes().all(is_bare) { label } else { format!("{label:?}") }
}

/// A backend or a secret of the operator's that can't be bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the {what} `{name}`: {fault}")]
pub struct BackendError {
    what: &'static str,
    name: String,
    fault: BindFault,
}

/// Why a backend can't be bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BindFault {
    #[error("the environment variable `{}` is not set", .0.0)]
    Variable(#[from] MissingVariable),
    #[error("`${{` has no `}}`")]
    OpenReference,
    #[error(transparent)]
    NameServers(#[from] NameServerError),
    #[error(transparent)]
    Authority(#[from] UnknownAuthority),
    #[error(transparent)]
    Redis(#[from] RedisUrlError),
    #[error(transparent)]
    Postgres(#[from] PostgresUrlError),
    #[error(transparent)]
    Mysql(#[from] MysqlUrlError),
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("there is no data folder for it")]
    NoFolder,
}

/// A name of a backend that nobody has bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no backend is called `{0}`")]
pub struct UnboundBackend(
    /// The name.
    pub Name,
);

/// `text`, which stands in the operator's configuration as the `what` called `name`, with each `${NAME}`
/// replaced by that variable's value.
///
/// # Errors
/// When a variable is not set, or a reference has no end.
pub fn expand_in(
    what: &'static str,
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, BackendError> {
    expand(text, environment).map_err(|fault| BackendError { what, name: name.to_owned(), fault })
}

/// `text` with each `${NAME}` replaced by that variable's value.
pub(crate) fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, BindFault> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(BindFault::OpenReference)?;
        expanded.push_str(before);
        expanded.push_str(&environment(name).ok_or_else(|| MissingVariable(name.to_owned()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_shown_as_keys() {
        assert_eq!(shown("a-b_1"), "a-b_1");
        assert_eq!(shown("mysql://u:hush@h/d"), "\"mysql://u:…@h/d\"");
        assert_eq!(shown("a\u{1b}[2K"), "\"a\\u{1b}[2K\"");
    }

    #[test]
    fn references_are_replaced() {
        let environment = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand("x${A}y${A}", &environment), Ok("x1y1".to_owned()));
        assert_eq!(expand("$A{}", &environment), Ok("$A{}".to_owned()));
        assert_eq!(expand("${A", &environment), Err(BindFault::OpenReference));
        assert_eq!(expand("${B}", &environment), Err(MissingVariable("B".to_owned()).into()));
    }
}
