//! Has bytes that parts pass each other copied at once.
//!
//! An engine copies what one component passes another element by element where it is a list, and at once
//! where it is a string whose encoding is the same on both sides (wasmtime 48: `fact/trampoline.rs`). A
//! `list<u8>` and a string in `latin1+utf16` of which no character is beyond Latin-1 have the same layout,
//! and any byte is such a character (CanonicalABI.md, `load_string_from_range`). So the exporter of
//! functions that take or give bytes gets a second export, and the importer a second import, by which
//! bytes are handed over as such strings, and the functions are called with pointers to what was handed
//! over. The importer's core modules call a function of ours in place of the import:
//!
//! | it calls | which does |
//! |---|---|
//! | `put-text`, `put-bytes` | returns where the bytes that it takes are, in the exporter |
//! | `call-F` | `F` itself, on pointers; what it gives, too, is a pointer, if there are bytes in it |
//! | `get-F` | what is at this pointer, with pointers to bytes |
//! | `take-text`, `take-bytes` | bytes, by where pointer and length are |
//! | `done-F` | what the exporter does after `F` returned (`post-return`) |
//!
//! A string has to lie at an even address and bytes may lie anywhere, so the others are for those at
//! odd ones, and for few, where a loop is as fast. Neither component can tell: its allocator is asked for
//! bytes as it would be, and pointers come from nothing but our code, so that a component can no more
//! reach the other's memory than before. All of it is plain component model, which any runtime takes.

mod exporter;
mod importer;
mod modules;
mod numbering;
mod outline;
mod signature;

use std::{borrow::Cow, collections::BTreeMap};

use wasm_encoder::{Alias, CanonicalOption, ComponentAliasSection, ExportKind, ValType};

use crate::{
    Part,
    plan::{Plan, Source},
};
use modules::CoreType;
use outline::{Options, Outline};
use signature::{Function, Type, U32};

/// The parts, and what is to be wired beside what is planned.
pub(crate) struct HandedOver<'a> {
    /// One component for each part.
    pub(crate) parts: Vec<Cow<'a, [u8]>>,
    pub(crate) wires: Vec<Wire>,
}

/// That a part's import is served by an export of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) importer: usize,
    pub(crate) exporter: usize,
    pub(crate) interface: String,
}

impl<'a> HandedOver<'a> {
    /// `parts`, which hand over bytes as strings wherever that can be done. A part that is not made as
    /// expected stays as it is.
    pub(crate) fn of(parts: &[Part<'a>], plan: &Plan) -> Self {
        let mut handed_over = Self::as_they_are(parts);
        if handed_over.rewrite(plan).is_none() {
            handed_over = Self::as_they_are(parts);
        }
        handed_over
    }

    fn as_they_are(parts: &[Part<'a>]) -> Self {
        let parts = parts.iter().map(|part| Cow::Borrowed(part.wasm)).collect();
        Self { parts, wires: Vec::new() }
    }

    fn rewrite(&mut self, plan: &Plan) -> Option<()> {
        let offers = self.offers(plan);
        for (importer, part) in plan.parts.iter().enumerate() {
            let wanted: Vec<_> = part
                .served
                .iter()
                .filter_map(|(import, source)| Some((import.as_str(), offers.get(&key(source))?)))
                .collect();
            let wasm = self.parts.get_mut(importer)?;
            let Some((rewritten, used)) = importer::rewrite(wasm, &wanted) else { continue };
            *wasm = Cow::Owned(rewritten);
            self.wires.extend(used.into_iter().map(|offer| Wire {
                importer,
                exporter: offer.part,
                interface: offer.interface.clone(),
            }));
        }
        for offer in offers.values() {
            if self.wires.iter().any(|wire| wire.interface == offer.interface) {
                let wasm = self.parts.get_mut(offer.part)?;
                let extended = exporter::extend(wasm, offer)?;
                Outline::of(&extended)?;
                *wasm = Cow::Owned(extended);
            }
        }
        Some(())
    }

    /// What exporters can take and give at once, by what is exported.
    fn offers(&self, plan: &Plan) -> BTreeMap<(usize, String), Offer> {
        let mut outlines = BTreeMap::new();
        let mut offers = BTreeMap::new();
        for source in plan.parts.iter().flat_map(|part| part.served.values()) {
            let Some(wasm) = self.parts.get(source.part) else { continue };
            let outline = outlines.entry(source.part).or_insert_with(|| Outline::of(wasm));
            let Some(outline) = outline else { continue };
            if offers.len() == MAX_OFFERS {
                break;
            }
            let functions = exporter::functions(outline, wasm, &source.export);
            if !functions.is_empty() {
                let number = offers.len();
                offers.entry(key(source)).or_insert_with(|| Offer {
                    part: source.part,
                    export: source.export.clone(),
                    interface: format!("dhow:bytes/part{}-export{number}", source.part),
                    functions,
                });
            }
        }
        offers
    }
}

/// Of an app. More exports stay as they are: for each, all of its component is read again.
const MAX_OFFERS: usize = 64;

fn key(source: &Source) -> (usize, String) {
    (source.part, source.export.clone())
}

/// Functions of an export whose bytes can be handed over.
struct Offer {
    part: usize,
    export: String,
    /// The name of the interface by which they are.
    interface: String,
    functions: Vec<Offered>,
}

#[derive(Debug, Clone)]
struct Offered {
    function: Function,
    has_post_return: bool,
}

/// A function of the interface by which bytes are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    PutText,
    PutBytes,
    TakeText,
    TakeBytes,
    Call(&'a Function),
    Get(&'a Function),
    Done(&'a Function),
}

impl<'a> Step<'a> {
    /// All that are needed for `functions`, of which one may be there several times.
    fn all(functions: &[&'a Offered]) -> Vec<Self> {
        let takes = functions.iter().any(|it| !it.function.byte_params().is_empty());
        let gives = functions.iter().any(|it| it.function.gives_bytes());
        let mut steps = Vec::new();
        if takes {
            steps.extend([Self::PutText, Self::PutBytes]);
        }
        if gives {
            steps.extend([Self::TakeText, Self::TakeBytes]);
        }
        for Offered { function, has_post_return } in functions {
            if steps.contains(&Self::Call(function)) {
                continue;
            }
            steps.push(Self::Call(function));
            if function.gives_bytes() {
                steps.push(Self::Get(function));
                if *has_post_return {
                    steps.push(Self::Done(function));
                }
            }
        }
        steps
    }

    fn name(self) -> String {
        match self {
            Self::PutText => "put-text".to_owned(),
            Self::PutBytes => "put-bytes".to_owned(),
            Self::TakeText => "take-text".to_owned(),
            Self::TakeBytes => "take-bytes".to_owned(),
            Self::Call(function) => format!("call-{}", function.name),
            Self::Get(function) => format!("get-{}", function.name),
            Self::Done(function) => format!("done-{}", function.name),
        }
    }

    fn signature(self) -> (Vec<(String, Type)>, Option<Type>) {
        const TEXT: Type = Type::Primitive(wasmparser::PrimitiveValType::String);
        let one = |ty| vec![("it".to_owned(), ty)];
        match self {
            Self::PutText => (one(TEXT), Some(U32)),
            Self::PutBytes => (one(Type::Bytes), Some(U32)),
            Self::TakeText => (one(U32), Some(TEXT)),
            Self::TakeBytes => (one(U32), Some(Type::Bytes)),
            Self::Call(function) => {
                let params = function.params.iter();
                let params = params.map(|(name, ty)| (name.clone(), ty.of_pointers())).collect();
                let result = function.result.clone();
                (params, if function.gives_bytes() { Some(U32) } else { result })
            }
            Self::Get(function) => {
                (one(U32), function.result.as_ref().map(Type::of_pointers_in_place))
            }
            Self::Done(_) => (one(U32), None),
        }
    }

    /// The type that it has when it is lowered, where that of the function itself is `whole`.
    fn core_type(self, whole: &CoreType) -> CoreType {
        const I32: ValType = ValType::I32;
        let (params, results) = match self {
            Self::PutText | Self::PutBytes => (vec![I32, I32], vec![I32]),
            Self::TakeText | Self::TakeBytes | Self::Get(_) => (vec![I32, I32], Vec::new()),
            Self::Done(_) => (vec![I32], Vec::new()),
            Self::Call(function) if function.gives_bytes() => {
                let mut params = whole.params.clone();
                // Where the result would be written.
                params.pop();
                (params, vec![I32])
            }
            Self::Call(_) => return whole.clone(),
        };
        CoreType { params, results }
    }

    /// How it is lifted or lowered where the function, or any, is by `options`.
    fn options(self, options: Options, realloc: Option<u32>) -> Vec<CanonicalOption> {
        let Options { encoding, memory, .. } = options;
        let (encoding, realloc) = match self {
            Self::Done(_) => return Vec::new(),
            Self::PutText | Self::TakeText => (CanonicalOption::CompactUTF16, realloc),
            Self::PutBytes | Self::TakeBytes => (CanonicalOption::UTF8, options.realloc),
            Self::Call(_) | Self::Get(_) => (encoding, options.realloc),
        };
        let mut all = vec![encoding, CanonicalOption::Memory(memory)];
        all.extend(realloc.map(CanonicalOption::Realloc));
        all
    }
}

/// Core functions that the core instance `instance` exports.
fn aliases<'a>(instance: u32, names: impl Iterator<Item = &'a str>) -> ComponentAliasSection {
    let mut aliases = ComponentAliasSection::new();
    for name in names {
        aliases.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name });
    }
    aliases
}
