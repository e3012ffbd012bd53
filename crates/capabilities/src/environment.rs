//! Environment variables: `wasi:cli/environment`.

use dhow_manifest::Environment;
use thiserror::Error;
use wasmtime_wasi::WasiCtxBuilder;

/// The variables that a component sees.
#[derive(Clone)]
pub(crate) struct Granted(Vec<(String, String)>);

pub(crate) fn grant(
    environment: &Environment,
    host: &dyn Fn(&str) -> Option<String>,
) -> Result<Granted, Vec<MissingVariable>> {
    let fixed = environment.fixed.iter().map(|(name, value)| (name.clone(), value.clone()));
    let mut variables: Vec<_> = fixed.collect();
    let mut missing = Vec::new();
    for name in &environment.inherited {
        match host(name) {
            Some(value) => variables.push((name.clone(), value)),
            None => missing.push(MissingVariable(name.clone())),
        }
    }
    if missing.is_empty() { Ok(Granted(variables)) } else { Err(missing) }
}

/// No variable.
pub(crate) fn nothing() -> Granted {
    Granted(Vec::new())
}

pub(crate) fn open(granted: &Granted, wasi: &mut WasiCtxBuilder) {
    wasi.envs(&granted.0);
}

/// A variable that is to be passed on and that the host does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the environment variable `{0}` is granted, and not set")]
pub struct MissingVariable(
    /// Its name.
    pub String,
);
