//! Configuration and secrets: `wasi:config/store`, and Spin's variables.
//!
//! Values that stand in the manifest, and secrets, which the manifest only names: the operator holds
//! them, or the user has set them.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf, sync::Arc};

use dhow_manifest::{Name, Secret};
use thiserror::Error;
use wasmtime::component::{Accessor, HasData};

use crate::{
    SecretFolder,
    backends::{self, BindFault},
    linking::{Linking, add},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/config",
        world: "imports",
        imports: { default: trappable },
    });
}

mod spin_bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/spin-variables",
        world: "imports",
        imports: { default: async | trappable },
    });
}

use bindings::wasi::config::store;
use spin_bindings::spin::variables::variables;

/// The operator's secrets, and those that the user has set. What is in a file is read there each
/// time, so that it can be replaced without a restart.
pub(crate) struct Secrets {
    operators: BTreeMap<Name, Value>,
    set: Option<Arc<SecretFolder>>,
}

#[derive(Clone)]
enum Value {
    Text(String),
    File(Name, PathBuf),
    Set(Name, Arc<SecretFolder>),
}

impl Secrets {
    /// Those that the user has set.
    pub(crate) fn new(set: Option<SecretFolder>) -> Self {
        Self { operators: BTreeMap::new(), set: set.map(Arc::new) }
    }

    /// Adds the operator's secret called `name`.
    pub(crate) fn bind(
        &mut self,
        name: &Name,
        secret: &Secret,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), BindFault> {
        let value = match secret {
            Secret::Text(text) => Value::Text(backends::expand(text.expose(), environment)?),
            Secret::File(path) => Value::File(name.clone(), path.clone()),
        };
        self.operators.insert(name.clone(), value);
        Ok(())
    }

    /// The secret called `name`. Where both have one it is the operator's, who answers for what runs.
    fn get(&self, name: &Name) -> Option<Value> {
        let set = self.set.as_ref().filter(|set| set.has(name));
        if let Some(value) = self.operators.get(name) {
            if set.is_some() {
                tracing::warn!(
                    "the secret `{name}` is the operator's: that of `dhow secret set` is not used"
                );
            }
            return Some(value.clone());
        }
        let value = Value::Set(name.clone(), set?.clone());
        // What is wrong with it is said at once, and may be mended while the app runs.
        let _ = value.read();
        Some(value)
    }
}

/// What one component can read, by key.
#[derive(Clone)]
pub(crate) struct Granted(Arc<BTreeMap<String, Value>>);

pub(crate) fn grant<'a>(
    config: &BTreeMap<String, String>,
    names: impl IntoIterator<Item = &'a Name>,
    secrets: &Secrets,
) -> Result<Granted, Vec<UnknownSecret>> {
    let fixed = config.iter().map(|(key, text)| (key.clone(), Value::Text(text.clone())));
    let mut values: BTreeMap<_, _> = fixed.collect();
    let mut unknown = Vec::new();
    for name in names {
        match secrets.get(name) {
            Some(value) => drop(values.insert(name.to_string(), value)),
            None => unknown.push(UnknownSecret(name.clone())),
        }
    }
    if unknown.is_empty() { Ok(Granted(Arc::new(values))) } else { Err(unknown) }
}

/// Nothing to read.
pub(crate) fn nothing() -> Granted {
    Granted(Arc::default())
}

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    add!(to, "wasi:config/store@0.2.0-rc.1", store, Config, config)?;
    add!(to, "spin:variables/variables@3.0.0", variables, Config, config)
}

pub(crate) fn open(granted: &Granted) -> Granted {
    granted.clone()
}

/// A secret that a component is granted, and nobody has set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no secret is called `{0}`")]
pub struct UnknownSecret(
    /// Its name.
    pub Name,
);

struct Config;

impl HasData for Config {
    type Data<'a> = &'a mut Granted;
}

impl Value {
    fn read(&self) -> Result<String, store::Error> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(name, path) => match fs::read_to_string(path) {
                // Editors and `echo` end a line that nobody means.
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(unreadable(name, format_args!("{}: {error}", path.display()))),
            },
            Self::Set(name, set) => set.read(name).map_err(|error| unreadable(name, error)),
        }
    }
}

/// What the guest is told. Why is in the log.
fn unreadable(name: &Name, why: impl fmt::Display) -> store::Error {
    tracing::error!("the secret `{name}` can't be read: {why}");
    store::Error::Io(format!("the secret `{name}` can't be read"))
}

impl store::Host for &mut Granted {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        Ok(self.0.get(&key).map(Value::read).transpose())
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(self.0.iter().map(|(key, value)| Ok((key.clone(), value.read()?))).collect())
    }
}

impl Granted {
    /// A variable of Spin's. Names of secrets have dashes, and those of variables can't.
    fn variable(&self, name: String) -> Result<String, variables::Error> {
        let found = self.0.get(&name).or_else(|| self.0.get(&name.replace('_', "-")));
        if let Some(value) = found {
            return value.read().map_err(|error| match error {
                store::Error::Io(why) | store::Error::Upstream(why) => {
                    variables::Error::Provider(why)
                }
            });
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_name) {
            return Err(variables::Error::Undefined(name));
        }
        let why = "a name has lower-case letters, digits and underscores";
        Err(variables::Error::InvalidName(format!("`{}`: {why}", name.escape_debug())))
    }
}

impl variables::Host for &mut Granted {}

impl<T: Send> variables::HostWithStore<T> for Config {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, variables::Error>> {
        Ok(accessor.with(|mut store| store.get().variable(name)))
    }
}
