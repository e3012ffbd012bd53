//! Running a component as a command.

use dhow_capabilities::{CommandGrants, OpenFolderError, State};
use dhow_engine::{CallError, CommandEntry, Exit, Maker};
use dhow_manifest::Name;
use dhow_package::Artifact;
use thiserror::Error;

use crate::{Host, LinkFault, LinkFaults, Tenant, link::entry_or_faults, surfaces::unserved};

/// A command whose every import is served. Made only by [`Host::link_command`].
pub struct LinkedCommand(CommandEntry<State>);

impl Host {
    /// Compiles the command `artifact` and links it.
    ///
    /// # Errors
    /// With everything that would keep it from running.
    pub fn link_command(
        &self,
        name: &Name,
        artifact: &Artifact,
    ) -> Result<LinkedCommand, LinkFaults> {
        let (path, digest, wasm) = (artifact.path(), artifact.digest(), artifact.bytes());
        let code = self.load(name, path, digest, wasm, Maker::Anybody)?;
        let unserved = unserved(name, code.imports());
        if !unserved.is_empty() {
            return Err(unserved.into());
        }
        let entry = CommandEntry::new(&self.core.loader.linker, &code);
        let entry = entry_or_faults(name, &code, entry, |component, exports| {
            LinkFault::NoCommand { component, exports }
        })?;
        Ok(LinkedCommand(entry))
    }

    /// Runs the command to its end, with what `tenant` has.
    ///
    /// # Errors
    /// When a granted folder can't be opened, or the command traps.
    pub async fn run(
        &self,
        tenant: &Tenant,
        LinkedCommand(entry): &LinkedCommand,
        grants: &CommandGrants,
    ) -> Result<Exit, RunError> {
        let state = tenant.capabilities().open_command(grants, tenant.own_account())?;
        let engine = &self.core.loader.engine;
        Ok(entry.run(engine, engine.store(state)).await?)
    }
}

/// Why a command did not come to its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// A granted folder can't be opened.
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    /// It trapped.
    #[error(transparent)]
    Call(#[from] CallError),
}
