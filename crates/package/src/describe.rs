//! What a component says of itself: its world as WIT, and who made it.

use std::collections::BTreeSet;

use thiserror::Error;
use wasm_metadata::Producers;
use wit_component::{DecodedWasm, OutputToString, WitPrinter};
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

/// What a component says of itself.
#[derive(Debug, Clone)]
pub struct Description {
    /// What it imports, as `namespace:package/interface@version` or a plain name, sorted.
    pub imports: Vec<String>,
    /// What it exports, likewise.
    pub exports: Vec<String>,
    /// Its world as WIT text.
    pub wit: String,
    /// The source languages that its parts name.
    pub languages: Vec<Producer>,
    /// The tools that made it: compilers, bindings generators, linkers.
    pub tools: Vec<Producer>,
}

/// An entry of a producers section (tool conventions, "Producers Section").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// The language or tool.
    pub name: String,
    /// Its version, empty where it gives none.
    pub version: String,
}

impl Description {
    /// Reads the description out of the component `bytes`.
    ///
    /// # Errors
    /// When the component is damaged, or is a WIT package.
    pub fn of(bytes: &[u8]) -> Result<Self, DescribeError> {
        let damaged = |error: &dyn std::fmt::Display| DescribeError::Damaged(error.to_string());
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
            .validate_all(bytes)
            .map_err(|error| damaged(&error))?;
        let decoded = wit_component::decode(bytes).map_err(|error| damaged(&error.root_cause()))?;
        let (resolve, world) = match decoded {
            DecodedWasm::Component(resolve, world) => (resolve, world),
            DecodedWasm::WitPackage(..) => return Err(DescribeError::WitPackage),
        };
        let (languages, tools) = producers(bytes).map_err(|error| damaged(&error))?;
        let (imports, exports) = names(&resolve, world);
        Ok(Self {
            imports,
            exports,
            wit: print_world(&resolve, world).map_err(|error| damaged(&error))?,
            languages: languages.into_iter().collect(),
            tools: tools.into_iter().collect(),
        })
    }
}

/// Who leaves his name when a component is made in which language. The languages that a component names
/// by itself are those of its runtime too: of Python's interpreter, of adapters, of C's library.
const MADE_BY: [(&str, &str); 6] = [
    ("Go cmd/compile", "Go"),
    ("componentize-py", "Python"),
    // Of componentize-py.
    ("component-init-transform", "Python"),
    ("componentize-js", "JavaScript"),
    ("wit-bindgen-rust", "Rust"),
    ("wit-bindgen-c", "C"),
];

impl Description {
    /// The language that it is written in, as far as its tools tell.
    pub fn language(&self) -> Option<&'static str> {
        let is_used = |tool: &str| self.tools.iter().any(|Producer { name, .. }| name == tool);
        MADE_BY.iter().find(|(tool, _)| is_used(tool)).map(|(_, language)| *language)
    }
}

fn names(resolve: &Resolve, world: WorldId) -> (Vec<String>, Vec<String>) {
    let Some(world) = resolve.worlds.get(world) else {
        return (Vec::new(), Vec::new());
    };
    let names = |items: &mut dyn Iterator<Item = &WorldKey>| {
        let names: BTreeSet<String> = items.map(|key| resolve.name_world_key(key)).collect();
        names.into_iter().collect()
    };
    let is_not_type = |item: &WorldItem| !matches!(item, WorldItem::Type { .. });
    (
        names(&mut world.imports.iter().filter(|(_, item)| is_not_type(item)).map(|(key, _)| key)),
        names(&mut world.exports.iter().filter(|(_, item)| is_not_type(item)).map(|(key, _)| key)),
    )
}

fn print_world(resolve: &Resolve, world: WorldId) -> Result<String, String> {
    let package = resolve
        .worlds
        .get(world)
        .and_then(|world| world.package)
        .ok_or("the world belongs to no package")?;
    let mut printer = WitPrinter::new(OutputToString::default());
    printer.emit_docs(false);
    printer.print_package(resolve, package, true).map_err(|error| error.to_string())?;
    Ok(printer.output.to_string())
}

/// The languages and the tools that the component and all modules in it name.
fn producers(bytes: &[u8]) -> Result<(BTreeSet<Producer>, BTreeSet<Producer>), String> {
    let mut languages = BTreeSet::new();
    let mut tools = BTreeSet::new();
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        let wasmparser::Payload::CustomSection(section) =
            payload.map_err(|error| error.to_string())?
        else {
            continue;
        };
        if section.name() != "producers" {
            continue;
        }
        let producers = Producers::from_bytes(section.data(), section.data_offset())
            .map_err(|error| error.to_string())?;
        for (field, entries) in producers.iter() {
            let set = if field == "language" { &mut languages } else { &mut tools };
            set.extend(
                entries.iter().map(|(name, version)| Producer {
                    name: name.clone(),
                    version: version.clone(),
                }),
            );
        }
    }
    Ok((languages, tools))
}

/// A component that can't be described.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// It is not well-formed, or not valid.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It holds only interfaces.
    #[error("a WIT package, which holds interfaces and no code")]
    WitPackage,
}
