//! The second export of what exports functions.

use wasm_encoder::{
    CanonicalFunctionSection, CanonicalOption, ComponentExportKind, ComponentExportSection,
    ComponentInstanceSection, ComponentSection, ModuleSection,
};

use super::{
    Offer, Offered, Step, aliases,
    modules::{self, Memory},
    outline::{Counts, Options, Outline},
    signature::{Function, MoreTypes, Types as _, name_of},
};

/// The functions of `export` whose bytes can be handed over.
pub(super) fn functions(outline: &Outline, wasm: &[u8], export: &str) -> Vec<Offered> {
    let found = Lifted::all(outline, wasm, export).into_iter();
    found
        .map(|lifted| Offered {
            function: lifted.function,
            has_post_return: lifted.options.post_return.is_some(),
        })
        .collect()
}

/// Of an interface. More stay as they are: each is compared with all.
const MAX_FUNCTIONS: usize = 256;

struct Lifted {
    function: Function,
    core: u32,
    options: Options,
}

impl Lifted {
    /// Those of the same memory and allocator as the first.
    fn all(outline: &Outline, wasm: &[u8], export: &str) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (name, number) in outline.exported(wasm, export).unwrap_or_default() {
            let Some(lifted) = outline.paths.lifted.get(&number) else { continue };
            let types = outline.types.as_ref();
            let Some(function) = Function::of(types, types.component_function_at(number), &name)
            else {
                continue;
            };
            let options = lifted.options;
            let takes = !function.byte_params().is_empty();
            let is_like = |other: &Self| {
                let reallocs = (other.options.realloc, options.realloc);
                other.options.memory == options.memory
                    && (reallocs.0.is_none() || reallocs.1.is_none() || reallocs.0 == reallocs.1)
            };
            if all.iter().all(is_like) && (!takes || options.realloc.is_some()) {
                all.push(Self { function, core: lifted.function, options });
            }
            if all.len() == MAX_FUNCTIONS {
                break;
            }
        }
        all
    }
}

/// The component `wasm`, with the interface by which the bytes of `offer` are handed over. What it has
/// already stays as it is: all that is new comes after it.
pub(super) fn extend(wasm: &[u8], offer: &Offer) -> Option<Vec<u8>> {
    let outline = Outline::of(wasm)?;
    let lifted = Lifted::all(&outline, wasm, &offer.export);
    let counts = Counts::of(outline.types.as_ref());
    let first = lifted.first()?;
    let realloc = lifted.iter().find_map(|it| it.options.realloc);
    let all = Options { realloc, post_return: None, ..first.options };

    let mut extended = Extended { wasm: wasm.to_vec() };
    let memory = Memory { number: all.memory, realloc };
    extended.section(&ModuleSection(&modules::memory(realloc.is_some())));
    extended.section(&memory.instance_of(counts.modules, counts.core_instances, &[]));
    let instance = counts.core_instances + 1;
    let names: &[&str] = if realloc.is_some() { &["same", "settle", "realloc"] } else { &["same"] };
    extended.section(&aliases(instance, names.iter().copied()));
    let [same, settle, aligned] = [0, 1, 2].map(|number| counts.core_functions + number);

    let offered: Vec<&Offered> = offer.functions.iter().collect();
    let steps = Step::all(&offered);
    let mut types = MoreTypes::after(counts.types);
    let mut lifts = CanonicalFunctionSection::new();
    for step in &steps {
        let (params, result) = step.signature();
        let ty = types.function(&params, result.as_ref());
        let of = |function: &Function| lifted.iter().find(|it| it.function == *function);
        let (core, options) = match step {
            Step::PutText | Step::PutBytes => (settle, all),
            Step::TakeText | Step::TakeBytes => (same, Options { realloc: None, ..all }),
            Step::Call(function) => (of(function)?.core, of(function)?.options),
            Step::Get(function) => (same, Options { realloc: None, ..of(function)?.options }),
            Step::Done(function) => (of(function)?.options.post_return?, all),
        };
        let text = if *step == Step::PutText { Some(aligned) } else { None };
        let mut written = step.options(options, text);
        if let Step::Call(function) = step
            && !function.gives_bytes()
        {
            written.extend(options.post_return.map(CanonicalOption::PostReturn));
        }
        lifts.lift(core, ty, written);
    }
    extended.section(&types.section);
    extended.section(&lifts);

    let mut instances = ComponentInstanceSection::new();
    // Types come before what is of them.
    let named = types.named().iter().enumerate();
    let mut items: Vec<_> =
        named.map(|(number, (_, ty))| (name_of(number), ComponentExportKind::Type, *ty)).collect();
    let functions = steps.iter().zip(counts.functions..);
    items.extend(functions.map(|(step, it)| (step.name(), ComponentExportKind::Func, it)));
    instances.export_items(items.iter().map(|(name, kind, number)| (&**name, *kind, *number)));
    extended.section(&instances);
    let mut exports = ComponentExportSection::new();
    let interface = offer.interface.as_str();
    exports.export(interface, ComponentExportKind::Instance, counts.instances, None);
    extended.section(&exports);
    Some(extended.wasm)
}

struct Extended {
    wasm: Vec<u8>,
}

impl Extended {
    fn section(&mut self, section: &impl ComponentSection) {
        self.wasm.push(section.id());
        section.encode(&mut self.wasm);
    }
}
