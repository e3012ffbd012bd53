//! Compiled components.

use thiserror::Error;
use wasmtime::component::Component;

use crate::Engine;

/// A compiled component, ready to be linked.
#[derive(Clone)]
pub struct Code {
    component: Component,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Engine {
    /// The code of the component `wasm`, whose SHA-256 is `digest`: from the cache, or compiled
    /// and put there.
    ///
    /// # Errors
    /// When the component is not valid.
    pub fn load(&self, wasm: &[u8], digest: &[u8; 32]) -> Result<Code, CompileError> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(digest)) {
            return Ok(self.code(component));
        }
        let component =
            Component::new(&self.wasmtime, wasm).map_err(|error| CompileError::new(&error))?;
        if let Some(cache) = &self.cache {
            cache.store(digest, &component);
        }
        Ok(self.code(component))
    }

    fn code(&self, component: Component) -> Code {
        let ty = component.component_type();
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        Code {
            imports: names(&mut ty.imports(&self.wasmtime).map(|(name, _)| name)),
            exports: names(&mut ty.exports(&self.wasmtime).map(|(name, _)| name)),
            component,
        }
    }
}

impl Code {
    /// The names of what it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    pub(crate) fn component(&self) -> &Component {
        &self.component
    }

    /// Whether it exports `interface` in a version that begins with `version`.
    pub(crate) fn exports_version(&self, interface: &str, version: &str) -> bool {
        self.exports.iter().any(|export| {
            export
                .split_once('@')
                .is_some_and(|(name, exported)| name == interface && exported.starts_with(version))
        })
    }
}

/// A component that is not valid.
#[derive(Debug, Error)]
#[error("damaged: {0}")]
pub struct CompileError(String);

impl CompileError {
    fn new(error: &wasmtime::Error) -> Self {
        Self(error.root_cause().to_string())
    }
}

/// An import that is missing or of another type than what is linked.
#[derive(Debug, Error)]
#[error("{0:#}")]
pub struct LinkError(wasmtime::Error);

impl LinkError {
    pub(crate) fn new(error: wasmtime::Error) -> Self {
        Self(error)
    }
}
