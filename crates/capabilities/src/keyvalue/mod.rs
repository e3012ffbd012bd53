//! Key-value stores: `wasi:keyvalue`, in both drafts that guests are built with.

mod draft;
mod draft2;
mod embedded;
mod memory;
mod redis;
mod serve;
mod store;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use dhow_manifest::{KeyValueBackend, Name};
use wasmtime::component::Linker;

use crate::{
    State,
    backends::{self, Backends, BindFault, UnboundBackend},
    tls::Tls,
};
use store::Store;

pub(crate) use redis::RedisUrlError;

/// The stores of the process.
pub(crate) struct Stores {
    bound: Mutex<BTreeMap<Name, Arc<dyn Store>>>,
    /// Where what nobody has bound gets a file of its own.
    data: Option<PathBuf>,
}

impl Stores {
    pub(crate) fn new(bound: BTreeMap<Name, Arc<dyn Store>>, data: Option<PathBuf>) -> Self {
        Self { bound: Mutex::new(bound), data }
    }

    fn get(&self, name: &Name) -> Result<Arc<dyn Store>, UnboundBackend> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = bound.get(name) {
            return Ok(store.clone());
        }
        let data = self.data.as_deref().ok_or_else(|| UnboundBackend(name.clone()))?;
        let store = embedded(name, data);
        bound.insert(name.clone(), store.clone());
        Ok(store)
    }
}

/// The store that `backend` says, which is opened when it is first used.
pub(crate) fn bind(
    name: &Name,
    backend: &KeyValueBackend,
    data: Option<&Path>,
    tls: &Arc<Tls>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<dyn Store>, BindFault> {
    Ok(match backend {
        KeyValueBackend::Embedded => embedded(name, data.ok_or(BindFault::NoFolder)?),
        KeyValueBackend::Memory => Arc::new(memory::Memory::default()),
        KeyValueBackend::Redis(url) => {
            let url = backends::expand(url.expose(), environment)?;
            Arc::new(redis::Redis::new(name.as_str(), &url, tls)?)
        }
    })
}

fn embedded(name: &Name, data: &Path) -> Arc<dyn Store> {
    Arc::new(embedded::Embedded::new(data.join("keyvalue").join(format!("{name}.redb"))))
}

/// The stores that one component can open, by its own labels for them.
#[derive(Clone)]
pub(crate) struct Granted(Arc<Labels>);

struct Labels {
    component: Name,
    stores: BTreeMap<String, Arc<dyn Store>>,
}

pub(crate) fn grant(
    component: &Name,
    labels: &BTreeMap<String, Name>,
    backends: &Backends,
) -> Result<Granted, Vec<UnboundBackend>> {
    let mut stores = BTreeMap::new();
    let mut unbound = Vec::new();
    for (label, name) in labels {
        match backends.keyvalue.get(name) {
            Ok(store) => drop(stores.insert(label.clone(), store)),
            Err(error) => unbound.push(error),
        }
    }
    if !unbound.is_empty() {
        return Err(unbound);
    }
    Ok(Granted(Arc::new(Labels { component: component.clone(), stores })))
}

/// No store at all.
pub(crate) fn nothing(component: &Name) -> Granted {
    Granted(Arc::new(Labels { component: component.clone(), stores: BTreeMap::new() }))
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    draft::link(linker)?;
    draft2::link(linker)
}

pub(crate) fn open(granted: &Granted) -> Granted {
    granted.clone()
}
