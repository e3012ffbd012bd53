//! Key-value stores: `dhow:keyvalue`, our own interface, which is asynchronous and has times to live
//! and conditions; `wasi:keyvalue` in both drafts that guests are built with; and Spin's.

mod draft;
mod draft2;
mod embedded;
mod expiry;
mod memory;
mod own;
mod redis;
mod serve;
mod spin;
mod store;
mod tables;

use std::{path::Path, sync::Arc};

use dhow_manifest::{KeyValueBackend, Name};

use crate::{
    backends::{self, BindFault, Labels},
    linking::Linking,
    tls::Tls,
};

pub(crate) use serve::{Opened, View, open};
pub(crate) use store::Store;

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

/// A file of its own in the folder `data`.
pub(crate) fn embedded(name: &Name, data: &Path) -> Arc<dyn Store> {
    Arc::new(embedded::Embedded::new(data.join("keyvalue").join(format!("{name}.redb"))))
}

/// The stores that one component can open.
pub(crate) type Granted = Labels<dyn Store>;

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    own::link(to)?;
    draft::link(to)?;
    draft2::link(to)?;
    spin::link(to)
}
