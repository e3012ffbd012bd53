//! How what a component imports and exports leads to its core functions.

use std::{collections::BTreeMap, ops::Range};

use wasm_encoder::CanonicalOption;
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentTypeRef,
    Parser, Payload, ValidPayload, Validator, WasmFeatures,
    types::{Types, TypesRef},
};

use crate::surface::{Content, sections};

/// A component, as far as it is about its interfaces and core functions.
pub(super) struct Outline {
    /// At the end of the component.
    pub(super) types: Types,
    pub(super) paths: Paths,
}

/// What leads from the interfaces of a component to its core functions. Functions that lead elsewhere are
/// not in it.
#[derive(Default)]
pub(super) struct Paths {
    /// Instances, by the names of the imports.
    pub(super) imports: BTreeMap<String, u32>,
    /// Instances, by the names of the exports.
    exports: BTreeMap<String, u32>,
    /// Functions of instances, with the instance and their name there.
    pub(super) aliases: BTreeMap<u32, (u32, String)>,
    /// By the number of the function.
    pub(super) lifted: BTreeMap<u32, Canonical>,
    /// By the number of the core function.
    pub(super) lowered: BTreeMap<u32, Canonical>,
    instances: BTreeMap<u32, Instance>,
    components: BTreeMap<u32, Range<usize>>,
}

/// A function that is lifted, or lowered.
pub(super) struct Canonical {
    /// The core function that is lifted, or the function that is lowered.
    pub(super) function: u32,
    pub(super) options: Options,
}

/// How a synchronous function's values are in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) encoding: CanonicalOption,
    pub(super) memory: u32,
    pub(super) realloc: Option<u32>,
    pub(super) post_return: Option<u32>,
}

enum Instance {
    /// Of the component, with functions as arguments.
    Of(u32, BTreeMap<String, u32>),
    /// Of these functions.
    Bag(Vec<(String, u32)>),
}

/// How many there are of what there is, so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) instances: u32,
    components: u32,
    pub(super) modules: u32,
    pub(super) core_functions: u32,
    pub(super) core_instances: u32,
}

impl Counts {
    pub(super) fn of(types: TypesRef<'_>) -> Self {
        Self {
            types: types.component_type_count(),
            functions: types.component_function_count(),
            instances: types.component_instance_count(),
            components: types.component_count(),
            modules: types.module_count(),
            core_functions: types.function_count(),
            core_instances: types.core_instance_count(),
        }
    }
}

impl Outline {
    /// `None` where the component is damaged.
    pub(super) fn of(wasm: &[u8]) -> Option<Self> {
        let mut paths = Paths::default();
        let types = walk(wasm, |payload, before| paths.add(&payload, before))?;
        Some(Self { types, paths })
    }

    /// The functions of the interface that is exported as `export`, where they are found.
    pub(super) fn exported(&self, wasm: &[u8], export: &str) -> Option<Vec<(String, u32)>> {
        let Paths { exports, instances, components, .. } = &self.paths;
        match instances.get(exports.get(export)?)? {
            Instance::Bag(functions) => Some(functions.clone()),
            Instance::Of(component, arguments) => {
                let component = wasm.get(components.get(component)?.clone())?;
                let passed = passed_through(component)?.into_iter();
                let found =
                    passed.filter_map(|(name, import)| Some((name, *arguments.get(&import)?)));
                Some(found.collect())
            }
        }
    }
}

/// Gives `each` section of the component itself, with what there is before it, and returns what there is
/// at the end. `None` where the component is damaged, or `each` returns it.
pub(super) fn walk<'a>(
    wasm: &'a [u8],
    mut each: impl FnMut(Payload<'a>, Counts) -> Option<()>,
) -> Option<Types> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut depth, mut types) = (0_u32, None);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.ok()?;
        let before = match payload {
            _ if depth > 0 => None,
            Payload::Version { .. } | Payload::End(_) => None,
            _ => validator.types(0).map(Counts::of),
        };
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        // The bodies of functions don't matter here.
        if let ValidPayload::End(end) = validator.payload(&payload).ok()? {
            types = Some(end);
        }
        if let Some(before) = before {
            each(payload, before)?;
        }
    }
    types
}

impl Paths {
    fn add(&mut self, payload: &Payload<'_>, mut next: Counts) -> Option<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import.ok()?;
                    if let ComponentTypeRef::Instance(_) = import.ty {
                        self.imports.insert(import.name.name.to_owned(), next.instances);
                        next.instances += 1;
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export.ok()?;
                    if export.kind == ComponentExternalKind::Instance {
                        self.exports.insert(export.name.name.to_owned(), export.index);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if let ComponentAlias::InstanceExport {
                        kind: ComponentExternalKind::Func,
                        instance_index,
                        name,
                    } = alias.ok()?
                    {
                        let alias = (instance_index, name.to_owned());
                        self.aliases.insert(next.functions, alias);
                        next.functions += 1;
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for canonical in section.clone() {
                    self.canonical(canonical.ok()?, &mut next);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    self.instances.insert(next.instances, Instance::of(&instance.ok()?));
                    next.instances += 1;
                }
            }
            Payload::ComponentSection { unchecked_range, .. } => {
                self.components.insert(next.components, unchecked_range.clone());
            }
            _ => {}
        }
        Some(())
    }

    fn canonical(&mut self, canonical: CanonicalFunction, next: &mut Counts) {
        match canonical {
            CanonicalFunction::Lift { core_func_index, options, .. } => {
                if let Some(options) = Options::of(&options) {
                    let lifted = Canonical { function: core_func_index, options };
                    self.lifted.insert(next.functions, lifted);
                }
                next.functions += 1;
            }
            CanonicalFunction::Lower { func_index, options } => {
                if let Some(options) = Options::of(&options) {
                    let lowered = Canonical { function: func_index, options };
                    self.lowered.insert(next.core_functions, lowered);
                }
                next.core_functions += 1;
            }
            _ => next.core_functions += 1,
        }
    }
}

impl Options {
    /// `None` where the function has no memory, or is something else than synchronous.
    fn of(options: &[wasmparser::CanonicalOption]) -> Option<Self> {
        use wasmparser::CanonicalOption as Read;
        let mut encoding = CanonicalOption::UTF8;
        let (mut memory, mut realloc, mut post_return) = (None, None, None);
        for option in options {
            match option {
                Read::UTF8 | Read::UTF16 | Read::CompactUTF16 => {
                    encoding = (*option).into();
                }
                Read::Memory(number) => memory = Some(*number),
                Read::Realloc(number) => realloc = Some(*number),
                Read::PostReturn(number) => post_return = Some(*number),
                Read::Async | Read::Callback(_) | Read::CoreType(_) | Read::Gc => {
                    return None;
                }
            }
        }
        Some(Self { encoding, memory: memory?, realloc, post_return })
    }
}

impl Instance {
    fn of(instance: &ComponentInstance<'_>) -> Self {
        match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let functions = args.iter().filter(|arg| arg.kind == ComponentExternalKind::Func);
                let functions = functions.map(|arg| (arg.name.to_owned(), arg.index));
                Self::Of(*component_index, functions.collect())
            }
            ComponentInstance::FromExports(exports) => {
                let functions = exports.iter().filter(|it| it.kind == ComponentExternalKind::Func);
                let functions = functions.map(|it| (it.name.name.to_owned(), it.index));
                Self::Bag(functions.collect())
            }
        }
    }
}

/// The functions that a component exports as it imports them, by both names. `None` if it does anything
/// else: those that tools give an interface its types by do no more.
fn passed_through(wasm: &[u8]) -> Option<Vec<(String, String)>> {
    const CUSTOM: u8 = 0;
    const TYPES: u8 = 7;
    let mut functions = Vec::new();
    let mut passed = Vec::new();
    for section in sections(wasm).ok()? {
        match section.content {
            Content::Imports(imports) => {
                for import in imports {
                    let import = import.ok()?;
                    if let ComponentTypeRef::Func(_) = import.ty {
                        functions.push(import.name.name.to_owned());
                    }
                }
            }
            Content::Exports(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    if export.kind == ComponentExternalKind::Func {
                        let import = functions.get(export.index as usize)?.clone();
                        passed.push((export.name.name.to_owned(), import.clone()));
                        functions.push(import);
                    }
                }
            }
            Content::Other if matches!(section.bytes.first(), Some(&(CUSTOM | TYPES))) => {}
            Content::Other => return None,
        }
    }
    Some(passed)
}
