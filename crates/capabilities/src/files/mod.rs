//! Folders of the host: `wasi:filesystem`.
//!
//! wasmtime-wasi opens the folders and keeps guests inside of them. What can be written to has a
//! quota, which it does not know: the functions by which a folder grows are replaced by our own,
//! which reserve first what they need. A component without a folder finds none to begin with.

mod meter;
mod p2;
mod p3;
mod quota;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use dhow_manifest::Folder;
use thiserror::Error;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{
    FsPerms, WasiCtxBuilder, WasiCtxView, WasiView,
    filesystem::{Descriptor, OpenMode, WasiFilesystemCtx, WasiFilesystemView as _},
};

use crate::{
    audit::Audit,
    linking::Linking,
    parts::{Caller, Part},
};
use meter::MeteredFile;
use quota::Quota;

pub(crate) use quota::Volumes;

/// The folders that one component sees; none where there is nothing.
#[derive(Clone)]
pub(crate) struct Granted(Option<Arc<Folders>>);

struct Folders {
    audit: Audit,
    /// Opened when they were granted.
    opened: WasiFilesystemCtx,
    /// In the same order; none where it can't be written to.
    quotas: Vec<Option<Quota>>,
}

/// A folder that can't be granted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the folder {} for `{guest}` can't be opened: {reason}", host.display())]
pub struct UnknownFolder {
    guest: String,
    host: PathBuf,
    reason: String,
    /// Whether it is not there at all.
    is_missing: bool,
}

impl UnknownFolder {
    /// What to do about it.
    pub(crate) fn help(&self) -> String {
        match self.is_missing {
            true => format!("make it: mkdir -p {}", self.host.display()),
            false => "name a folder that Dhow may open".to_owned(),
        }
    }
}

/// Opens `folders`, where `volumes` has them.
pub(crate) fn grant(
    audit: &Audit,
    folders: &BTreeMap<String, Folder>,
    volumes: &Volumes,
) -> Result<Granted, Vec<UnknownFolder>> {
    if folders.is_empty() {
        return Ok(Granted(None));
    }
    let mut wasi = WasiCtxBuilder::new();
    let (mut quotas, mut unknown) = (Vec::new(), Vec::new());
    for (guest, folder) in folders {
        let host = volumes.path_of(&folder.host);
        match open_folder(&host, guest, folder, volumes, &mut wasi) {
            Ok(quota) => quotas.push(quota),
            Err(error) => unknown.push(UnknownFolder {
                guest: guest.clone(),
                host,
                reason: error.to_string(),
                is_missing: error.kind() == io::ErrorKind::NotFound,
            }),
        }
    }
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut opening = Opening { wasi: wasi.build(), table: ResourceTable::new() };
    let opened = opening.filesystem().ctx.clone();
    Ok(Granted(Some(Arc::new(Folders { audit: audit.clone(), opened, quotas }))))
}

fn open_folder(
    host: &Path,
    guest: &str,
    folder: &Folder,
    volumes: &Volumes,
    wasi: &mut WasiCtxBuilder,
) -> io::Result<Option<Quota>> {
    let real = volumes.find(host)?;
    let permissions = match folder.quota {
        Some(_) => FsPerms::ReadWrite,
        None => FsPerms::ReadOnly,
    };
    wasi.preopened_dir(&real, guest, permissions)
        .map_err(|error| io::Error::other(error.root_cause().to_string()))?;
    Ok(folder.quota.map(|limit| volumes.quota(real, limit)))
}

/// No folder.
pub(crate) fn nothing() -> Granted {
    Granted(None)
}

/// Opens nothing: each instance has what was opened when it was granted.
pub(crate) fn open(Granted(folders): &Granted) -> Opened {
    Opened { folders: folders.clone(), quotas: HashMap::new() }
}

/// Replaces the functions by which folders grow.
pub(crate) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    p2::link(to)?;
    p3::link(to)
}

/// Where wasmtime-wasi makes folders of what it is told.
struct Opening {
    wasi: wasmtime_wasi::WasiCtx,
    table: ResourceTable,
}

impl WasiView for Opening {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The folders of one instance.
pub(crate) struct Opened {
    folders: Option<Arc<Folders>>,
    /// Of what was opened in a folder with a quota, by its index in the table of resources. An entry
    /// outlives what it is for, until the index is used again.
    quotas: HashMap<u32, Quota>,
}

impl Opened {
    fn quota_of(&self, descriptor: &Resource<Descriptor>) -> Option<Quota> {
        self.quotas.get(&descriptor.rep()).cloned()
    }

    /// Whether two folders have different quotas, so that nothing can be moved between them.
    fn are_apart(&self, one: &Resource<Descriptor>, other: &Resource<Descriptor>) -> bool {
        match (self.quota_of(one), self.quota_of(other)) {
            (Some(one), Some(other)) => !one.is_of_same_folder(&other),
            (None, None) => false,
            _ => true,
        }
    }

    /// `directories` are the granted folders, in their order.
    fn given(&mut self, directories: &[(Resource<Descriptor>, String)]) {
        let Some(folders) = self.folders.clone() else { return };
        for ((descriptor, _), quota) in directories.iter().zip(&folders.quotas) {
            self.keep(descriptor, quota.clone());
        }
    }

    fn keep(&mut self, descriptor: &Resource<Descriptor>, quota: Option<Quota>) {
        match quota {
            Some(quota) => drop(self.quotas.insert(descriptor.rep(), quota)),
            None => drop(self.quotas.remove(&descriptor.rep())),
        }
    }

    fn deny(&self, path: &str) {
        if let Some(folders) = &self.folders {
            folders.audit.deny(
                "files",
                format_args!(
                    "files {path:?}: it lies outside of its folder, or can't be written to"
                ),
                "to allow writing: \
                 grants.files = { \"/PATH\" = { folder = \"FOLDER\", write = true } }",
            );
        }
    }
}

impl Part {
    /// Puts the granted folders where wasmtime-wasi gives them out.
    pub(crate) fn install_folders(&mut self) {
        if let Some(folders) = &self.files.folders {
            *self.wasi.filesystem() = folders.opened.clone();
        }
    }
}

impl Caller<'_> {
    /// The file behind `descriptor`, where it can be written to and has a quota.
    fn metered(
        &mut self,
        descriptor: &Resource<Descriptor>,
    ) -> wasmtime::Result<Option<MeteredFile>> {
        let Some(quota) = self.part.files.quota_of(descriptor) else { return Ok(None) };
        Ok(match self.table.get(descriptor)? {
            Descriptor::File(file) if file.open_mode.contains(OpenMode::WRITE) => {
                Some(MeteredFile::new(file.file.clone(), quota))
            }
            _ => None,
        })
    }

    /// `descriptor` was opened in a folder with `quota`.
    fn opened_file(
        &mut self,
        descriptor: &Resource<Descriptor>,
        quota: Option<Quota>,
    ) -> wasmtime::Result<()> {
        if let (Some(quota), Descriptor::File(file)) = (&quota, self.table.get(descriptor)?) {
            quota.opened(&file.file);
        }
        self.part.files.keep(descriptor, quota);
        Ok(())
    }
}
