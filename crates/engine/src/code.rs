//! Compiled components.

use thiserror::Error;
use wasmtime::component::Component;

use crate::{Engine, cache, compile::ChildError};

/// A compiled component, ready to be linked.
#[derive(Clone)]
pub struct Code {
    component: Component,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Who made a component, as far as its compiler is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// The user, who has just built it: it is compiled in this process, and functions that have not
    /// changed are not compiled again.
    User,
    /// Anybody: it is compiled by a child with limits, where there is one.
    Anybody,
}

impl Engine {
    /// The code of the component `wasm`, whose SHA-256 is `digest`: from the cache, or compiled
    /// and put there.
    ///
    /// # Errors
    /// When the component is not valid, or takes more to compile than it may.
    pub fn load(&self, wasm: &[u8], digest: &[u8; 32], maker: Maker) -> Result<Code, CompileError> {
        if let Some(code) = self.cached(digest) {
            return Ok(code);
        }
        let component = match (&self.compiler, maker) {
            (Some(compiler), Maker::Anybody) => {
                let compiled = compiler.compile(wasm).map_err(CompileError::from)?;
                cache::adopt(&self.wasmtime, &compiled).map_err(|error| invalid(&error))?
            }
            _ => {
                let _functions =
                    self.cache.as_ref().and_then(|cache| cache.functions(&self.functions));
                Component::new(&self.wasmtime, wasm).map_err(|error| invalid(&error))?
            }
        };
        let component = match &self.cache {
            Some(cache) => cache.store(digest, component),
            None => component,
        };
        Ok(self.code(component))
    }

    /// The code of the component whose SHA-256 is `digest`, where the cache has it.
    pub fn cached(&self, digest: &[u8; 32]) -> Option<Code> {
        self.cache.as_ref()?.load(digest).map(|component| self.code(component))
    }

    /// Whether the cache has code for the component whose SHA-256 is `digest`.
    pub fn has_cached(&self, digest: &[u8; 32]) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has(digest))
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

    /// The bytes of machine code and of what belongs to it.
    pub fn size(&self) -> usize {
        let image = self.component.image_range();
        image.end.addr().saturating_sub(image.start.addr())
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

fn invalid(error: &wasmtime::Error) -> CompileError {
    CompileError::Invalid(error.root_cause().to_string())
}

/// Why a component has no code.
#[derive(Debug, Error)]
pub enum CompileError {
    /// It is not valid.
    #[error("damaged: {0}")]
    Invalid(String),
    /// It takes too much, or the compiler does not run.
    #[error("not compiled: {0}")]
    Child(String),
}

impl From<ChildError> for CompileError {
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::Invalid(text) => Self::Invalid(text),
            other => Self::Child(other.to_string()),
        }
    }
}

/// Why a component can't be linked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// An import is missing, or of another type than what is linked.
    #[error("{0:#}")]
    Import(wasmtime::Error),
    /// A handler of WASI 0.2 does not return before it has answered.
    #[error("instances.calls can't be more than 1: a handler of wasi:http 0.2 takes one at a time")]
    OneCallAtATime,
}
