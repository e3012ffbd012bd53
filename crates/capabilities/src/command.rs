//! What a command has that is run from a terminal: arguments, the terminal itself, folders.

use std::path::PathBuf;

use dhow_manifest::{MemorySize, Name, Origin, Sockets};
use thiserror::Error;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// What a command is granted on the command line.
#[derive(Debug, Clone)]
pub struct CommandGrants {
    /// What it is called in messages.
    pub name: Name,
    /// Its arguments; the first is the name of the program.
    pub arguments: Vec<String>,
    /// Its environment variables.
    pub environment: Vec<(String, String)>,
    /// The folders it can open.
    pub folders: Vec<FolderGrant>,
    /// The origins it can send requests to.
    pub http: Vec<Origin>,
    /// What it can do with sockets.
    pub sockets: Sockets,
    /// The memory it may use.
    pub memory_limit: MemorySize,
}

/// A folder of the host that a guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderGrant {
    /// The folder.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: String,
    /// Whether it can be written to.
    pub writable: bool,
}

pub(crate) fn open(
    grants: &CommandGrants,
    wasi: &mut WasiCtxBuilder,
) -> Result<(), OpenFolderError> {
    wasi.inherit_stdio().args(&grants.arguments).envs(&grants.environment);
    for folder in &grants.folders {
        let permissions = if folder.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(&folder.host, &folder.guest, permissions).map_err(|error| {
            OpenFolderError { folder: folder.host.clone(), reason: error.root_cause().to_string() }
        })?;
    }
    Ok(())
}

/// A folder that can't be granted.
#[derive(Debug, Error)]
#[error("{}: {reason}", folder.display())]
pub struct OpenFolderError {
    folder: PathBuf,
    reason: String,
}
