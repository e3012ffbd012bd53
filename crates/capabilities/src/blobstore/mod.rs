//! Objects by name: `dhow:blobstore`, our own interface, whose contents are streams of WASI 0.3, and
//! the draft of `wasi:blobstore`.

mod draft;
mod pipe;
mod s3;
mod serve;
mod store;
mod upload;
mod value;

use std::{path::Path, sync::Arc};

use dhow_manifest::{BlobBackend, Name};

use crate::{
    backends::{BindFault, Labels},
    linking::Linking,
    tls::Tls,
};

pub(crate) use s3::BucketError;
pub(crate) use serve::View;
pub(crate) use store::Store;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/blobstore",
        world: "imports",
        imports: { default: async | store | trappable },
        with: { "dhow:blobstore/store.container": crate::blobstore::serve::Container },
    });
}

/// The store that `backend` says, which is opened when it is first used.
pub(crate) fn bind(
    name: &Name,
    backend: &BlobBackend,
    data: Option<&Path>,
    tls: &Arc<Tls>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<Store>, BindFault> {
    Ok(match backend {
        BlobBackend::Folder => embedded(name, data.ok_or(BindFault::NoFolder)?),
        BlobBackend::Memory => Arc::new(Store::in_memory(name.as_str())),
        BlobBackend::S3(bucket) => {
            let objects = s3::connect(bucket, tls, environment)?;
            Arc::new(Store::elsewhere(name.as_str(), objects))
        }
    })
}

/// A folder of its own in the folder `data`.
pub(crate) fn embedded(name: &Name, data: &Path) -> Arc<Store> {
    Arc::new(Store::in_folder(name.as_str(), data.join("blobstore").join(name.as_str())))
}

/// The containers that one component can open, each a store of its own.
pub(crate) type Granted = Labels<Store>;

pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    serve::link(to)?;
    draft::link(to)
}
