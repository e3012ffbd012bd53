//! Compiled components.

use std::{ops::Range, sync::Arc};

use thiserror::Error;
use wasmtime::{
    Module,
    component::{Component, InstancePre, Linker},
};

use crate::{Engine, cache, compile::ChildError, modules};

/// A compiled component, ready to be linked. It is loaded once for all who hold it at a time.
#[derive(Clone)]
pub struct Code(Arc<Loaded>);

pub(crate) struct Loaded {
    component: Component,
    /// Its large core modules, which were compiled by themselves, by the names by which it imports them.
    modules: Vec<(String, Arc<Module>)>,
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
    /// The code of the component `wasm`, which is known by `digest`: from the cache, or compiled and put
    /// there. No other component has the same.
    ///
    /// # Errors
    /// When the component is not valid, or takes more to compile than it may.
    pub fn load(&self, wasm: &[u8], digest: &[u8; 32], maker: Maker) -> Result<Code, CompileError> {
        if let Some(code) = self.cached(digest) {
            return Ok(code);
        }
        if modules::imports_one(wasm) {
            return Err(CompileError::Invalid("it imports a core module".to_owned()));
        }
        let apart = modules::take_apart(wasm);
        let (rest, taken) = match &apart {
            Some(apart) => (&apart.component[..], &apart.modules[..]),
            None => (wasm, &[][..]),
        };
        let _functions = match maker {
            Maker::User => self.cache.as_ref().and_then(|cache| cache.functions(&self.functions)),
            Maker::Anybody => None,
        };
        let mut modules = Vec::new();
        for module in taken {
            let code = match self.cached_module(&module.digest) {
                Some(code) => code,
                None => {
                    let code = self.compile(&module.wasm, &module.digest, maker)?;
                    self.modules.put(&module.digest, code)
                }
            };
            modules.push((modules::name_of(&module.digest), code));
        }
        let component = self.compile(rest, digest, maker)?;
        Ok(self.code(digest, component, modules))
    }

    /// Compiles `wasm`, here or in a child, and keeps it.
    fn compile<C: cache::Compiled>(
        &self,
        wasm: &[u8],
        digest: &[u8; 32],
        maker: Maker,
    ) -> Result<C, CompileError> {
        let code = match (&self.compiler, maker) {
            (Some(compiler), Maker::Anybody) => {
                let compiled = compiler.compile(wasm).map_err(CompileError::from)?;
                cache::adopt(&self.wasmtime, &compiled)
            }
            _ => C::compile(&self.wasmtime, wasm),
        };
        let code = code.map_err(|error| invalid(&error))?;
        Ok(match &self.cache {
            Some(cache) => cache.store(digest, code),
            None => code,
        })
    }

    /// The code of the component that is known by `digest`, where it is loaded or the cache has all of it.
    pub fn cached(&self, digest: &[u8; 32]) -> Option<Code> {
        if let Some(loaded) = self.code.get(digest) {
            return Some(Code(loaded));
        }
        let cache = self.cache.as_ref()?;
        let component: Component = cache.load(digest)?;
        let mut modules = Vec::new();
        for (name, _) in component.component_type().imports(&self.wasmtime) {
            if let Some(digest) = modules::digest_of(name) {
                modules.push((name.to_owned(), self.cached_module(&digest)?));
            }
        }
        Some(self.code(digest, component, modules))
    }

    fn cached_module(&self, digest: &[u8; 32]) -> Option<Arc<Module>> {
        self.modules.get(digest).or_else(|| {
            let module = self.cache.as_ref()?.load(digest)?;
            Some(self.modules.put(digest, module))
        })
    }

    /// Whether the cache has code for the component that is known by `digest`.
    pub fn has_cached(&self, digest: &[u8; 32]) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has(digest))
    }

    fn code(
        &self,
        digest: &[u8; 32],
        component: Component,
        modules: Vec<(String, Arc<Module>)>,
    ) -> Code {
        let ty = component.component_type();
        let imports = ty.imports(&self.wasmtime).map(|(name, _)| name);
        let imports = imports.filter(|name| modules::digest_of(name).is_none());
        let loaded = Loaded {
            imports: imports.map(str::to_owned).collect(),
            exports: ty.exports(&self.wasmtime).map(|(name, _)| name.to_owned()).collect(),
            modules,
            component,
        };
        Code(self.code.put(digest, loaded))
    }
}

impl Code {
    /// The names of what it imports.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.0.exports
    }

    /// The bytes of machine code and of what belongs to it.
    pub fn size(&self) -> usize {
        let size = |image: Range<*const u8>| image.end.addr().saturating_sub(image.start.addr());
        let modules = self.0.modules.iter().map(|(_, module)| size(module.image_range()));
        size(self.0.component.image_range()) + modules.sum::<usize>()
    }

    /// Resolves its imports by `linker`.
    pub(crate) fn instantiate_pre<T>(
        &self,
        linker: &Linker<T>,
    ) -> wasmtime::Result<InstancePre<T>> {
        if self.0.modules.is_empty() {
            return linker.instantiate_pre(&self.0.component);
        }
        let mut linker = linker.clone();
        for (name, module) in &self.0.modules {
            linker.root().module(name, module)?;
        }
        linker.instantiate_pre(&self.0.component)
    }

    /// Whether it exports `interface` in a version that begins with `version`.
    pub(crate) fn exports_version(&self, interface: &str, version: &str) -> bool {
        self.0.exports.iter().any(|export| {
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
