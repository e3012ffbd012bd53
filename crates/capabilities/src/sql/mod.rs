//! SQL databases: `dhow:sql`, our own interface, since none of WASI has types, transactions or
//! streams.

mod database;
mod postgres;
mod postgres_value;
mod serve;
mod sqlite;
mod sqlite_value;
mod text;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use dhow_manifest::{Name, SqlBackend};

use crate::{
    backends::{self, BindFault, UnboundBackend},
    tls::Tls,
};
use database::Database;

pub(crate) use postgres::PostgresUrlError;
pub(crate) use serve::link;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/sql",
        world: "imports",
        imports: { default: async | store | trappable },
        with: {
            "dhow:sql/database.connection": crate::sql::serve::Connection,
            "dhow:sql/database.transaction": crate::sql::serve::Transaction,
        },
    });
}

/// The databases of the process.
pub(crate) struct Databases {
    bound: Mutex<BTreeMap<Name, Arc<dyn Database>>>,
    /// Where what nobody has bound gets a file of its own.
    data: Option<PathBuf>,
}

impl Databases {
    pub(crate) fn new(bound: BTreeMap<Name, Arc<dyn Database>>, data: Option<PathBuf>) -> Self {
        Self { bound: Mutex::new(bound), data }
    }

    fn get(&self, name: &Name) -> Result<Arc<dyn Database>, UnboundBackend> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = bound.get(name) {
            return Ok(database.clone());
        }
        let data = self.data.as_deref().ok_or_else(|| UnboundBackend(name.clone()))?;
        let database = embedded(name, data);
        bound.insert(name.clone(), database.clone());
        Ok(database)
    }
}

/// The database that `backend` says, which is opened when it is first used.
pub(crate) fn bind(
    name: &Name,
    backend: &SqlBackend,
    data: Option<&Path>,
    tls: &Arc<Tls>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<dyn Database>, BindFault> {
    Ok(match backend {
        SqlBackend::Embedded => embedded(name, data.ok_or(BindFault::NoFolder)?),
        SqlBackend::Postgres(url) => {
            let url = backends::expand(url.expose(), environment)?;
            Arc::new(postgres::Postgres::new(name.as_str(), &url, tls)?)
        }
    })
}

fn embedded(name: &Name, data: &Path) -> Arc<dyn Database> {
    Arc::new(sqlite::Sqlite::new(data.join("sql").join(format!("{name}.sqlite"))))
}

/// The databases that one component can open, by its own labels for them.
#[derive(Clone)]
pub(crate) struct Granted(Arc<Labels>);

struct Labels {
    component: Name,
    databases: BTreeMap<String, Arc<dyn Database>>,
}

pub(crate) fn grant(
    component: &Name,
    labels: &BTreeMap<String, Name>,
    databases: &Databases,
) -> Result<Granted, Vec<UnboundBackend>> {
    let mut granted = BTreeMap::new();
    let mut unbound = Vec::new();
    for (label, name) in labels {
        match databases.get(name) {
            Ok(database) => drop(granted.insert(label.clone(), database)),
            Err(error) => unbound.push(error),
        }
    }
    if !unbound.is_empty() {
        return Err(unbound);
    }
    Ok(Granted(Arc::new(Labels { component: component.clone(), databases: granted })))
}

/// No database at all.
pub(crate) fn nothing(component: &Name) -> Granted {
    Granted(Arc::new(Labels { component: component.clone(), databases: BTreeMap::new() }))
}

pub(crate) fn open(granted: &Granted) -> Granted {
    granted.clone()
}
