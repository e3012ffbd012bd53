//! In what an interface that one component imports differs from that which another exports.

use std::collections::HashSet;

use wit_component::DecodedWasm;
use wit_parser::{Interface, Resolve, Type, WorldItem, WorldKey};

use crate::wit::{
    Piece, base, definition_text, function_pieces, function_text, type_name, type_pieces,
};

/// The first item that differs, as both have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As it is imported, in WIT.
    pub imported: String,
    /// As it is exported, likewise; `None` where there is no such item.
    pub exported: Option<String>,
}

impl Difference {
    /// Compares the import `import` of the component `importer` with the export `export` of the
    /// component `exporter`. `None` where none is found, or where they are no interfaces.
    pub(crate) fn of(importer: &[u8], import: &str, exporter: &[u8], export: &str) -> Option<Self> {
        let imports = Side::of(importer, import, |world| &world.imports)?;
        let exports = Side::of(exporter, export, |world| &world.exports)?;
        Comparison { imports: &imports.resolve, exports: &exports.resolve, equal: HashSet::new() }
            .interfaces(imports.interface()?, exports.interface()?)
    }
}

struct Side {
    resolve: Resolve,
    interface: wit_parser::InterfaceId,
}

type Items = wit_parser::IndexMap<WorldKey, WorldItem>;

impl Side {
    fn of(
        wasm: &[u8],
        name: &str,
        items: impl FnOnce(&wit_parser::World) -> &Items,
    ) -> Option<Self> {
        let DecodedWasm::Component(resolve, world) = wit_component::decode(wasm).ok()? else {
            return None;
        };
        let mut items = items(resolve.worlds.get(world)?).iter();
        let (_, item) = items.find(|(key, _)| resolve.name_world_key(key) == name)?;
        let WorldItem::Interface { id, .. } = item else { return None };
        let interface = *id;
        Some(Self { resolve, interface })
    }

    fn interface(&self) -> Option<&Interface> {
        self.resolve.interfaces.get(self.interface)
    }
}

struct Comparison<'a> {
    imports: &'a Resolve,
    exports: &'a Resolve,
    /// What was compared already.
    equal: HashSet<(Type, Type)>,
}

/// What comparing two types came to.
enum Outcome {
    Equal,
    /// They differ, and have no names under which to show it.
    Differ,
    Found(Difference),
}

impl Comparison<'_> {
    fn interfaces(&mut self, imported: &Interface, exported: &Interface) -> Option<Difference> {
        for (name, function) in &imported.functions {
            let text = function_text(self.imports, function);
            let Some(other) = exported.functions.get(name) else {
                return Some(Difference { imported: text, exported: None });
            };
            match self.pieces(&function_pieces(function), &function_pieces(other)) {
                Outcome::Equal => {}
                Outcome::Found(difference) => return Some(difference),
                Outcome::Differ => {
                    let other = function_text(self.exports, other);
                    return Some(Difference { imported: text, exported: Some(other) });
                }
            }
        }
        for (name, id) in &imported.types {
            let ty = Type::Id(*id);
            let Some(other) = exported.types.get(name) else {
                let imported = definition_text(self.imports, name, ty);
                return Some(Difference { imported, exported: None });
            };
            if let Outcome::Found(difference) = self.types(ty, Type::Id(*other)) {
                return Some(difference);
            }
        }
        None
    }

    fn types(&mut self, imported: Type, exported: Type) -> Outcome {
        let (one, other) = (base(self.imports, imported), base(self.exports, exported));
        if self.equal.contains(&(one, other)) {
            return Outcome::Equal;
        }
        let pieces = (type_pieces(self.imports, one), type_pieces(self.exports, other));
        match self.pieces(&pieces.0, &pieces.1) {
            Outcome::Equal => {
                self.equal.insert((one, other));
                Outcome::Equal
            }
            Outcome::Differ => {
                let names = (type_name(self.imports, imported), type_name(self.exports, exported));
                let (Some(name), Some(other)) = names else { return Outcome::Differ };
                Outcome::Found(Difference {
                    imported: definition_text(self.imports, name, imported),
                    exported: Some(definition_text(self.exports, other, exported)),
                })
            }
            found @ Outcome::Found(_) => found,
        }
    }

    fn pieces(&mut self, imported: &[Piece], exported: &[Piece]) -> Outcome {
        if imported.len() != exported.len() {
            return Outcome::Differ;
        }
        let is_same_kind = |(one, other): (&Piece, &Piece)| match (one, other) {
            (Piece::Text(one), Piece::Text(other)) => one == other,
            (Piece::Type(_), Piece::Type(_)) => true,
            _ => false,
        };
        if !imported.iter().zip(exported).all(is_same_kind) {
            return Outcome::Differ;
        }
        for pair in imported.iter().zip(exported) {
            if let (Piece::Type(one), Piece::Type(other)) = pair {
                match self.types(*one, *other) {
                    Outcome::Equal => {}
                    outcome => return outcome,
                }
            }
        }
        Outcome::Equal
    }
}
