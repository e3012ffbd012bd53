//! The second import of what imports functions.

use std::collections::BTreeMap;

use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentExportKind,
    ComponentImportSection, ComponentTypeRef, ComponentTypeSection, ModuleSection, ValType,
    reencode::ReencodeComponent as _,
};
use wasmparser::{CanonicalFunction, Payload};

use super::{
    Offer, Offered, Step, aliases,
    modules::{self, Caller, CoreType, Memory, Moved, ResultBytes},
    numbering::Numbering,
    outline::{Counts, Options, Outline, walk},
    signature::{Function, Interface, Types as _},
};

/// The component `wasm`, which hands over bytes to what serves its imports as `wanted` says, and which of
/// these it does. `None` where it does none.
pub(super) fn rewrite<'o>(
    wasm: &[u8],
    wanted: &[(&str, &'o Offer)],
) -> Option<(Vec<u8>, Vec<&'o Offer>)> {
    if wanted.is_empty() {
        return None;
    }
    let outline = Outline::of(wasm)?;
    let imports = imports(&outline, wanted);
    if imports.is_empty() {
        return None;
    }
    let mut rewriter = Rewriter::new(&imports, &outline);
    let mut component = Component::new();
    walk(wasm, |payload, counts| rewriter.section(&mut component, payload, counts, wasm))?;
    let rewritten = component.finish();
    Outline::of(&rewritten)?;
    Some((rewritten, imports.into_values().map(|import| import.offer).collect()))
}

/// An import whose functions are called otherwise.
struct Import<'o> {
    offer: &'o Offer,
    lowered: Vec<Lowered<'o>>,
}

/// A function that is lowered, to be called otherwise.
#[derive(Clone, Copy)]
struct Lowered<'o> {
    core: u32,
    offered: &'o Offered,
    options: Options,
}

/// Of a component, however often each function is. More stay as they are: each is compared with all.
const MAX_LOWERED: usize = 1024;

/// Those that are wanted, by the number of the instance.
fn imports<'o>(outline: &Outline, wanted: &[(&str, &'o Offer)]) -> BTreeMap<u32, Import<'o>> {
    let types = outline.types.as_ref();
    let mut imports: BTreeMap<u32, Import<'o>> = BTreeMap::new();
    // One module is for all, so that they have to have one memory.
    let (mut all, mut count): (Option<Options>, _) = (None, 0);
    for (core, lowered) in &outline.paths.lowered {
        let Some((instance, name)) = outline.paths.aliases.get(&lowered.function) else { continue };
        let is_it = |it: &&(&str, &Offer)| outline.paths.imports.get(it.0) == Some(instance);
        let Some((_, offer)) = wanted.iter().find(is_it) else { continue };
        let id = types.component_function_at(lowered.function);
        let Some(function) = Function::of(types, id, name) else { continue };
        let offered = offer.functions.iter().find(|offered| offered.function == function);
        let Some(offered) = offered else { continue };
        let options = lowered.options;
        let realloc = all.and_then(|all| all.realloc).or(options.realloc);
        let is_like = all.is_none_or(|all| all.memory == options.memory)
            && (options.realloc.is_none() || options.realloc == realloc);
        if !is_like || (function.gives_bytes() && options.realloc.is_none()) {
            continue;
        }
        if count == MAX_LOWERED {
            break;
        }
        count += 1;
        all = Some(Options { realloc, ..options });
        let import =
            imports.entry(*instance).or_insert_with(|| Import { offer, lowered: Vec::new() });
        import.lowered.push(Lowered { core: *core, offered, options });
    }
    imports
}

/// Copies a component section by section, and adds what is new between these. What comes later has other
/// numbers then.
struct Rewriter<'i, 'o> {
    imports: &'i BTreeMap<u32, Import<'o>>,
    outline: &'i Outline,
    numbers: Numbering,
    /// Imports that come next, by the number of the instance that they stand beside.
    to_import: Vec<u32>,
    /// The new imports, by the same.
    imported: BTreeMap<u32, u32>,
    /// What is lowered, and is not called otherwise yet.
    lowered: Vec<(u32, Lowered<'o>)>,
}

impl<'i, 'o> Rewriter<'i, 'o> {
    fn new(imports: &'i BTreeMap<u32, Import<'o>>, outline: &'i Outline) -> Self {
        Self {
            imports,
            outline,
            numbers: Numbering::default(),
            to_import: Vec::new(),
            imported: BTreeMap::new(),
            lowered: Vec::new(),
        }
    }

    /// Copies `payload`, before which there is what `counts` says.
    fn section(
        &mut self,
        component: &mut Component,
        payload: Payload<'_>,
        counts: Counts,
        wasm: &[u8],
    ) -> Option<()> {
        if !self.to_import.is_empty() {
            self.import(component, counts);
        }
        let may_lower_more = matches!(
            payload,
            Payload::ComponentAliasSection(_)
                | Payload::ComponentCanonicalSection(_)
                | Payload::ComponentTypeSection(_)
                | Payload::CustomSection(_)
        );
        if !may_lower_more && !self.lowered.is_empty() {
            self.call_otherwise(component, counts)?;
        }
        match &payload {
            Payload::ComponentImportSection(section) => {
                let imports = section.clone().into_iter();
                let instances = imports.filter(|import| {
                    let ty = import.as_ref().map(|import| import.ty);
                    matches!(ty, Ok(wasmparser::ComponentTypeRef::Instance(_)))
                });
                let numbers = (counts.instances..).zip(instances).map(|(number, _)| number);
                self.to_import = numbers.filter(|it| self.imports.contains_key(it)).collect();
            }
            Payload::ComponentCanonicalSection(section) => {
                let lifts = |it: &CanonicalFunction| matches!(it, CanonicalFunction::Lift { .. });
                let canonical = section.clone().into_iter().flatten().filter(|it| !lifts(it));
                let end = counts.core_functions + canonical.count() as u32;
                for (instance, import) in self.imports {
                    let here = import.lowered.iter();
                    let here = here.filter(|it| (counts.core_functions..end).contains(&it.core));
                    self.lowered.extend(here.map(|lowered| (*instance, *lowered)));
                }
            }
            _ => {}
        }
        self.numbers.parse_component_payload(component, payload, wasm).ok()
    }

    /// Imports the interfaces by which bytes are handed over.
    fn import(&mut self, component: &mut Component, counts: Counts) {
        let (mut types, mut section) = (ComponentTypeSection::new(), ComponentImportSection::new());
        let first = self.numbers.types.add(counts.types, self.to_import.len());
        let mut number = self.numbers.instances.add(counts.instances, self.to_import.len());
        for (ty, instance) in (first..).zip(std::mem::take(&mut self.to_import)) {
            let Some(import) = self.imports.get(&instance) else { continue };
            let mut interface = Interface::default();
            // All of them, so that the types have the names that they are exported by.
            for step in Step::all(&import.offer.functions.iter().collect::<Vec<_>>()) {
                let (params, result) = step.signature();
                let ty = interface.function(&params, result.as_ref());
                interface.ty.export(step.name(), ComponentTypeRef::Func(ty));
            }
            types.instance(&interface.ty);
            section.import(&import.offer.interface, ComponentTypeRef::Instance(ty));
            self.imported.insert(instance, number);
            number += 1;
        }
        component.section(&types).section(&section);
    }

    /// Has functions of ours called in place of those that are lowered by now.
    fn call_otherwise(&mut self, component: &mut Component, counts: Counts) -> Option<()> {
        let lowered = std::mem::take(&mut self.lowered);
        let (_, first) = lowered.first()?;
        let realloc = lowered.iter().find_map(|(_, it)| it.options.realloc);
        let all = self.renumbered(Options { realloc, ..first.options });
        let memory = Memory { number: all.memory, realloc: all.realloc };
        let mut host = Host::default();
        let gives = lowered.iter().any(|(_, it)| it.offered.function.gives_bytes());
        let (mut aligned, mut settle) = (None, None);
        if gives {
            let first = self.allocate(component, counts, memory);
            settle = Some(host.function(modules::settle_type(), first));
            aligned = Some(first + 1);
        }

        let steps = self.lower(component, counts, &lowered, all, aligned)?;
        let callers = lowered.iter().map(|(instance, lowered)| {
            let ty = self.core_type(lowered.core)?;
            let plain = self.numbers.core_functions.of(lowered.core);
            host.caller(&steps, (*instance, lowered.offered), (ty, plain), settle)
        });
        let callers = callers.collect::<Option<Vec<_>>>()?;

        let module = self.numbers.modules.add(counts.modules, 1);
        let instance = self.numbers.core_instances.add(counts.core_instances, 2);
        component.section(&ModuleSection(&modules::callers(&host.types, &callers)));
        component.section(&memory.instance_of(module, instance, &host.functions));
        let numbers = self.numbers.core_functions.add(counts.core_functions, callers.len());
        let names: Vec<String> = (0..callers.len()).map(|number| number.to_string()).collect();
        component.section(&aliases(instance + 1, names.iter().map(String::as_str)));
        let replaced = lowered.iter().map(|(_, lowered)| lowered.core);
        self.numbers.replaced.extend(replaced.zip(numbers..));
        Some(())
    }

    /// Adds what allocates for bytes that are taken: `settle` and `realloc` of [`modules::memory`].
    fn allocate(&mut self, component: &mut Component, counts: Counts, memory: Memory) -> u32 {
        let module = self.numbers.modules.add(counts.modules, 1);
        let instance = self.numbers.core_instances.add(counts.core_instances, 2);
        component.section(&ModuleSection(&modules::memory(true)));
        component.section(&memory.instance_of(module, instance, &[]));
        component.section(&aliases(instance + 1, ["settle", "realloc"].into_iter()));
        self.numbers.core_functions.add(counts.core_functions, 2)
    }

    /// Lowers all that is needed for `lowered`; by instance and step.
    fn lower(
        &mut self,
        component: &mut Component,
        counts: Counts,
        lowered: &[(u32, Lowered<'o>)],
        all: Options,
        aligned: Option<u32>,
    ) -> Option<BTreeMap<(u32, String), u32>> {
        let mut by_instance: BTreeMap<u32, Vec<&'o Offered>> = BTreeMap::new();
        for (instance, Lowered { offered, .. }) in lowered {
            by_instance.entry(*instance).or_default().push(offered);
        }
        let steps: Vec<_> = by_instance
            .iter()
            .flat_map(|(instance, all)| Step::all(all).into_iter().map(|step| (*instance, step)))
            .collect();
        let (mut aliases, mut section) =
            (ComponentAliasSection::new(), CanonicalFunctionSection::new());
        let functions = self.numbers.functions.add(counts.functions, steps.len());
        let core_functions = self.numbers.core_functions.add(counts.core_functions, steps.len());
        for ((instance, step), function) in steps.iter().zip(functions..) {
            aliases.alias(Alias::InstanceExport {
                instance: *self.imported.get(instance)?,
                kind: ComponentExportKind::Func,
                name: &step.name(),
            });
            let options = match step {
                Step::Call(function) | Step::Get(function) => {
                    let is_it = |it: &&(u32, Lowered<'o>)| {
                        it.0 == *instance && it.1.offered.function == **function
                    };
                    self.renumbered(lowered.iter().find(is_it)?.1.options)
                }
                _ => all,
            };
            section.lower(function, step.options(options, aligned));
        }
        component.section(&aliases).section(&section);
        let names = steps.iter().map(|(instance, step)| (*instance, step.name()));
        Some(names.zip(core_functions..).collect())
    }

    fn renumbered(&self, options: Options) -> Options {
        let realloc = options.realloc.map(|realloc| self.numbers.core_functions.of(realloc));
        Options { realloc, ..options }
    }

    fn core_type(&self, core: u32) -> Option<CoreType> {
        let types = self.outline.types.as_ref();
        let ty = &types.get(types.core_function_at(core))?.composite_type.inner;
        let wasmparser::CompositeInnerType::Func(function) = ty else { return None };
        let all = |types: &[wasmparser::ValType]| types.iter().map(|ty| value(*ty)).collect();
        let params: Option<_> = all(function.params());
        Some(CoreType { params: params?, results: all(function.results())? })
    }
}

fn value(ty: wasmparser::ValType) -> Option<ValType> {
    Some(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        _ => return None,
    })
}

/// What the module of callers imports.
#[derive(Default)]
struct Host {
    types: Vec<CoreType>,
    functions: Vec<u32>,
}

impl Host {
    /// The number that the import of the core function `number` has.
    fn function(&mut self, ty: CoreType, number: u32) -> u32 {
        if let Some(there) = self.functions.iter().position(|it| *it == number) {
            return there as u32;
        }
        self.types.push(ty);
        self.functions.push(number);
        self.functions.len() as u32 - 1
    }

    /// What is called in place of `plain`, which is the function of the instance.
    fn caller<'o>(
        &mut self,
        steps: &BTreeMap<(u32, String), u32>,
        (instance, offered): (u32, &'o Offered),
        (ty, plain): (CoreType, u32),
        settle: Option<u32>,
    ) -> Option<Caller> {
        let function = &offered.function;
        let mut step = |step: Step<'o>| {
            let number = *steps.get(&(instance, step.name()))?;
            Some(self.function(step.core_type(&ty), number))
        };
        let bytes = function.byte_params();
        let put = match bytes.is_empty() {
            true => None,
            false => Some(Moved { text: step(Step::PutText)?, bytes: step(Step::PutBytes)? }),
        };
        let result = match function.result_bytes() {
            None => None,
            Some(place) => Some(ResultBytes {
                place,
                get: step(Step::Get(function))?,
                take: Moved { text: step(Step::TakeText)?, bytes: step(Step::TakeBytes)? },
                settle: settle?,
                done: match offered.has_post_return {
                    true => Some(step(Step::Done(function))?),
                    false => None,
                },
            }),
        };
        let call = step(Step::Call(function))?;
        let plain = self.function(ty.clone(), plain);
        Some(Caller { ty, bytes, plain, call, put, result })
    }
}
