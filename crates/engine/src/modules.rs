//! Core modules that are compiled by themselves.
//!
//! wasmtime compiles a component as a whole: with an app in which a component of Rust has changed, an
//! interpreter of Python would be compiled again. So large core modules are taken out of a component
//! before. In their place it imports them, by names that say their digests; each is compiled once, and
//! kept once, for all components that it is part of.

use std::ops::Range;

use wasm_encoder::{
    Alias, Component, ComponentAliasSection, ComponentImportSection, ComponentOuterAliasKind,
    ComponentSection as _, ComponentTypeRef, CoreTypeSection, EntityType, FuncType, ModuleType,
    RawSection,
};
use wasmparser::{
    BinaryReader, ComponentImportSectionReader, ExternalKind, Parser, Payload, TypeRef,
    WasmFeatures,
};

/// A component without its large core modules, and these.
pub(crate) struct Apart {
    pub(crate) component: Vec<u8>,
    pub(crate) modules: Vec<Module>,
}

/// A core module that was part of a component.
pub(crate) struct Module {
    pub(crate) digest: [u8; 32],
    pub(crate) wasm: Vec<u8>,
}

/// A smaller one is compiled faster than it is looked up and mapped by itself.
const MIN_BYTES: usize = 256 << 10;

/// What the imports begin with that stand for core modules. The rest is a digest in hexadecimal digits.
const PREFIX: &str = "core-module-h";

/// The digest of the core module that the import `name` stands for.
pub(crate) fn digest_of(name: &str) -> Option<[u8; 32]> {
    let digest = blake3::Hash::from_hex(name.strip_prefix(PREFIX)?).ok()?;
    Some(*digest.as_bytes())
}

/// What the import of the core module with this digest is called.
pub(crate) fn name_of(digest: &[u8; 32]) -> String {
    format!("{PREFIX}{}", blake3::Hash::from_bytes(*digest).to_hex())
}

/// Takes the large core modules out of the component `wasm`: its own, or where it has none those of the
/// components that it is made of. `None` where there is none that can be taken out; then it is compiled
/// as it is.
pub(crate) fn take_apart(wasm: &[u8]) -> Option<Apart> {
    let sections = sections(wasm)?;
    // Types of its own would have other indexes afterwards. No toolchain writes any.
    if sections.iter().any(|section| section.id == CORE_TYPES) {
        return None;
    }
    let mut taken = Taken { modules: Vec::new(), types: CoreTypeSection::new() };
    let mut component = Component::new();
    let has_modules = sections.iter().any(|section| section.id == MODULE);
    let rest =
        if has_modules { taken.own(wasm, &sections)? } else { taken.nested(wasm, &sections, 0)? };
    if taken.modules.is_empty() {
        return None;
    }
    component.section(&taken.types);
    if !has_modules {
        let mut imports = ComponentImportSection::new();
        for (index, module) in (0..).zip(&taken.modules) {
            imports.import(&*name_of(&module.digest), ComponentTypeRef::Module(index));
        }
        component.section(&imports);
    }
    let mut component = component.finish();
    component.extend(rest);
    Some(Apart { component, modules: taken.modules })
}

/// Whether the component `wasm` has an import as if something had been taken out of it: whoever knows
/// the digest of a module would get it, whosever it is.
pub(crate) fn imports_one(wasm: &[u8]) -> bool {
    let sections = sections(wasm).unwrap_or_default();
    let imports = sections.iter().filter(|section| section.id == IMPORTS).flat_map(|section| {
        let content = wasm.get(section.content.clone()).unwrap_or_default();
        let features = WasmFeatures::all();
        let reader = BinaryReader::new_features(content, section.content.start, features);
        ComponentImportSectionReader::new(reader).into_iter().flatten()
    });
    imports.map_while(Result::ok).any(|import| digest_of(import.name.name).is_some())
}

/// What was taken out, each once, and the type of each.
struct Taken {
    modules: Vec<Module>,
    types: CoreTypeSection,
}

impl Taken {
    /// The sections of a component, in which an import stands for each large module.
    fn own(&mut self, wasm: &[u8], sections: &[Section]) -> Option<Vec<u8>> {
        let mut rest = Vec::new();
        for Section { id, whole, content } in sections {
            let bytes = wasm.get(content.clone())?;
            let known = self.modules.len();
            match self.take(*id, bytes) {
                // A second import of the same name can't be: what is there twice stays once.
                Some(index) if index as usize == known => {
                    let module = self.modules.last()?;
                    let mut imports = ComponentImportSection::new();
                    imports.import(&*name_of(&module.digest), ComponentTypeRef::Module(index));
                    imports.append_to_component(&mut rest);
                }
                _ => rest.extend_from_slice(wasm.get(whole.clone())?),
            }
        }
        Some(rest)
    }

    /// The sections of a component, `depth` components inside of the outermost one, in which an alias
    /// of what that one imports stands for each large module.
    fn nested(&mut self, wasm: &[u8], sections: &[Section], depth: u32) -> Option<Vec<u8>> {
        let mut rest = Vec::new();
        for Section { id, whole, content } in sections {
            let bytes = wasm.get(content.clone())?;
            if *id == COMPONENT {
                let inner = self::sections(bytes)?;
                let mut data = bytes.get(..PREAMBLE)?.to_vec();
                data.extend(self.nested(bytes, &inner, depth + 1)?);
                RawSection { id: COMPONENT, data: &data }.append_to_component(&mut rest);
            } else if let Some(index) = self.take(*id, bytes) {
                let mut aliases = ComponentAliasSection::new();
                let kind = ComponentOuterAliasKind::CoreModule;
                aliases.alias(Alias::Outer { kind, count: depth, index });
                aliases.append_to_component(&mut rest);
            } else {
                rest.extend_from_slice(wasm.get(whole.clone())?);
            }
        }
        Some(rest)
    }

    /// The place of the module `wasm` among those that are taken out; none where it stays.
    fn take(&mut self, id: u8, wasm: &[u8]) -> Option<u32> {
        if id != MODULE || wasm.len() < MIN_BYTES {
            return None;
        }
        let digest = *blake3::hash(wasm).as_bytes();
        let known = self.modules.iter().position(|module| module.digest == digest);
        let index = match known {
            Some(index) => index,
            None => {
                self.types.ty().module(&module_type(wasm)?);
                self.modules.push(Module { digest, wasm: wasm.to_vec() });
                self.modules.len() - 1
            }
        };
        u32::try_from(index).ok()
    }
}

/// A section of a component.
struct Section {
    id: u8,
    /// With its id and its size.
    whole: Range<usize>,
    content: Range<usize>,
}

/// Component model, Binary.md.
const PREAMBLE: usize = 8;
const MODULE: u8 = 1;
const CORE_TYPES: u8 = 3;
const COMPONENT: u8 = 4;
const IMPORTS: u8 = 10;

fn sections(wasm: &[u8]) -> Option<Vec<Section>> {
    if !Parser::is_component(wasm) {
        return None;
    }
    let mut reader = BinaryReader::new(wasm.get(PREAMBLE..)?, PREAMBLE);
    let mut sections = Vec::new();
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8().ok()?;
        let size = reader.read_var_u32().ok()?;
        let content = reader.original_position();
        reader.read_bytes(size as usize).ok()?;
        let end = reader.original_position();
        sections.push(Section { id, whole: start..end, content: content..end });
    }
    Some(sections)
}

/// What the module `wasm` imports and exports; none where that takes types of garbage collection.
fn module_type(wasm: &[u8]) -> Option<ModuleType> {
    let mut ty = ModuleType::new();
    let mut space = IndexSpace::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::TypeSection(types) => {
                // All of them, so that they have the same indexes here.
                for function in types.into_iter_err_on_gc_types() {
                    let function = FuncType::try_from(function.ok()?).ok()?;
                    ty.ty().func_type(&function);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.ok()?;
                    ty.import(import.module, import.name, EntityType::try_from(import.ty).ok()?);
                    space.push(import.ty);
                }
            }
            Payload::FunctionSection(functions) => {
                for function in functions {
                    space.push(TypeRef::Func(function.ok()?));
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    space.push(TypeRef::Table(table.ok()?.ty));
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    space.push(TypeRef::Memory(memory.ok()?));
                }
            }
            Payload::TagSection(tags) => {
                for tag in tags {
                    space.push(TypeRef::Tag(tag.ok()?));
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    space.push(TypeRef::Global(global.ok()?.ty));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    let exported = space.get(export.kind, export.index)?;
                    ty.export(export.name, EntityType::try_from(exported).ok()?);
                }
            }
            _ => {}
        }
    }
    Some(ty)
}

/// The types of what a module has, by kind and index.
#[derive(Default)]
struct IndexSpace {
    functions: Vec<TypeRef>,
    tables: Vec<TypeRef>,
    memories: Vec<TypeRef>,
    globals: Vec<TypeRef>,
    tags: Vec<TypeRef>,
}

impl IndexSpace {
    fn push(&mut self, ty: TypeRef) {
        match ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions.push(ty),
            TypeRef::Table(_) => self.tables.push(ty),
            TypeRef::Memory(_) => self.memories.push(ty),
            TypeRef::Global(_) => self.globals.push(ty),
            TypeRef::Tag(_) => self.tags.push(ty),
        }
    }

    fn get(&self, kind: ExternalKind, index: u32) -> Option<TypeRef> {
        let kind = match kind {
            ExternalKind::Func | ExternalKind::FuncExact => &self.functions,
            ExternalKind::Table => &self.tables,
            ExternalKind::Memory => &self.memories,
            ExternalKind::Global => &self.globals,
            ExternalKind::Tag => &self.tags,
        };
        kind.get(index as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{
        Engine, Module, Store,
        component::{Component, Linker},
    };

    use super::*;

    /// A component with a function `add`, of a module that is large enough and of one that is not.
    fn adder() -> String {
        let zeros = "\\00".repeat(MIN_BYTES);
        format!(
            r#"(component
                (core module $large
                    (import "small" "one" (func $one (result i32)))
                    (memory (export "memory") 8)
                    (table (export "table") 1 10 funcref)
                    (global (export "global") (mut i32) (i32.const 0))
                    (data (i32.const 0) "{zeros}")
                    (func (export "add") (param i32) (result i32)
                        (i32.add (local.get 0) (call $one))))
                (core module $small (func (export "one") (result i32) (i32.const 1)))
                (core instance $small (instantiate $small))
                (core instance $large (instantiate $large (with "small" (instance $small))))
                (func (export "add") (param "n" u32) (result u32)
                    (canon lift (core func $large "add"))))"#
        )
    }

    fn call(wasm: &[u8], modules: &[super::Module]) -> u32 {
        let engine = Engine::default();
        let component = Component::new(&engine, wasm).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        for module in modules {
            let name = name_of(&module.digest);
            assert_eq!(digest_of(&name), Some(module.digest));
            let module = Module::new(&engine, &module.wasm).unwrap();
            linker.root().module(&name, &module).unwrap();
        }
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let add = instance.get_typed_func::<(u32,), (u32,)>(&mut store, "add").unwrap();
        add.call(&mut store, (41,)).unwrap().0
    }

    #[test]
    fn what_is_taken_apart_does_the_same() {
        let own = adder();
        let inner = own.strip_prefix("(component").unwrap().strip_suffix(')').unwrap();
        let nested = format!(
            "(component
                (component $a {inner})
                (component $b
                    (component $c {inner})
                    (instance $c (instantiate $c))
                    (export \"add\" (func $c \"add\")))
                (instance $a (instantiate $a))
                (instance $b (instantiate $b))
                (export \"add\" (func $b \"add\")))"
        );
        for text in [own, nested] {
            let wasm = wat::parse_str(&text).unwrap();
            assert_eq!(call(&wasm, &[]), 42);
            let apart = take_apart(&wasm).unwrap();
            // What is there twice is there once.
            assert_eq!(apart.modules.len(), 1);
            assert!(apart.component.len() < MIN_BYTES);
            assert_eq!(call(&apart.component, &apart.modules), 42);
            assert!(imports_one(&apart.component) && !imports_one(&wasm));
        }
    }

    #[test]
    fn what_is_small_or_no_component_stays_as_it_is() {
        for text in ["(component)", "(component (core module))", "(module)"] {
            assert!(take_apart(&wat::parse_str(text).unwrap()).is_none());
        }
        assert!(take_apart(b"").is_none());
        assert!(take_apart(&[0, b'a', b's', b'm', 13, 0, 1, 0, 1, 0xff]).is_none());
    }
}
