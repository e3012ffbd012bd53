//! Running a `wasi:cli/command`.

use wasmtime::{Store, component::Linker};
use wasmtime_wasi::{I32Exit, p2, p3};

use crate::{CallError, Code, Engine, InstanceState, LinkError};

/// A component that can be run as a command.
pub struct CommandEntry<T: 'static>(Pre<T>);

enum Pre<T: 'static> {
    P2(p2::bindings::CommandPre<T>),
    P3(p3::bindings::CommandPre<T>),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(
    /// The exit code, 0 for success.
    pub i32,
);

impl<T: InstanceState> CommandEntry<T> {
    /// The command that `code` exports, linked; `None` where it exports none.
    ///
    /// # Errors
    /// When an import is missing or of another type.
    pub fn new(linker: &Linker<T>, code: &Code) -> Option<Result<Self, LinkError>> {
        let pre = || code.instantiate_pre(linker);
        let pre = if code.exports_version("wasi:cli/run", "0.3.") {
            pre().and_then(p3::bindings::CommandPre::new).map(Pre::P3)
        } else if code.exports_version("wasi:cli/run", "0.2.") {
            pre().and_then(p2::bindings::CommandPre::new).map(Pre::P2)
        } else {
            return None;
        };
        Some(pre.map(Self).map_err(LinkError::Import))
    }

    /// Runs the command to its end in `store`.
    ///
    /// # Errors
    /// When it traps.
    pub async fn run(&self, engine: &Engine, mut store: Store<T>) -> Result<Exit, CallError> {
        let _running = engine.running();
        match self.call(&mut store).await {
            Ok(Ok(())) => Ok(Exit(0)),
            Ok(Err(())) => Ok(Exit(1)),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(Exit(exit.0)),
                None => Err(CallError::failed(error, store.data_mut().budget())),
            },
        }
    }

    async fn call(&self, store: &mut Store<T>) -> wasmtime::Result<Result<(), ()>> {
        match &self.0 {
            Pre::P2(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(store).await
            }
            Pre::P3(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                store
                    .run_concurrent(async |accessor| {
                        command.wasi_cli_run().call_run(accessor).await
                    })
                    .await?
            }
        }
    }
}
