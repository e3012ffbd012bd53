//! Which imports are wired to which exports, once the types are known.

use std::collections::BTreeSet;

use wac_graph::types::{InterfaceId, ItemKind, Types, WorldId};

use crate::plan::{Plan, Source};

/// That the import `import` of the part `importer`, by the name that it has when it is joined, is
/// served.
pub(crate) struct Link {
    pub(crate) importer: usize,
    pub(crate) import: String,
    pub(crate) source: Source,
}

/// All links, and what they are between.
pub(crate) struct Links<'a> {
    pub(crate) types: &'a Types,
    /// One for each part.
    pub(crate) worlds: &'a [WorldId],
}

impl Links<'_> {
    /// All that is planned, and what follows from it: where an interface comes from, there the types
    /// that it uses come from.
    pub(crate) fn of(&self, plan: &Plan) -> Vec<Link> {
        let mut links = Vec::new();
        let mut known = BTreeSet::new();
        for (importer, plan) in plan.parts.iter().enumerate() {
            for (import, source) in &plan.served {
                known.insert((importer, import.clone()));
                links.push(Link { importer, import: import.clone(), source: source.clone() });
            }
        }
        let mut next = 0;
        while let Some(link) = links.get(next) {
            let importer = link.importer;
            for (import, source) in self.implied(link).unwrap_or_default() {
                if known.insert((importer, import.clone())) {
                    links.push(Link { importer, import, source });
                }
            }
            next += 1;
        }
        links
    }

    /// The imports whose types the import of `link` uses, where the exporter has the same types from
    /// an export of its own.
    fn implied(&self, link: &Link) -> Option<Vec<(String, Source)>> {
        let (imported, exported) = (self.imported(link)?, self.exported(link)?);
        let imports = &self.types[*self.worlds.get(link.importer)?].imports;
        let exports = &self.types[*self.worlds.get(link.source.part)?].exports;
        let is = |interface: InterfaceId| {
            move |item: &(&String, &ItemKind)| *item.1 == ItemKind::Instance(interface)
        };
        let uses = self.types[exported].uses.iter();
        let implied = uses.filter_map(|(name, used)| {
            let export = exports.iter().find(is(used.interface))?.0.clone();
            let used = self.types[imported].uses.get(name)?;
            let import = imports.iter().find(is(used.interface))?.0.clone();
            Some((import, Source { part: link.source.part, export }))
        });
        Some(implied.collect())
    }

    /// The interface of `link`, as it is imported.
    pub(crate) fn imported(&self, link: &Link) -> Option<InterfaceId> {
        instance(self.types[*self.worlds.get(link.importer)?].imports.get(&link.import)?)
    }

    /// The interface of `link`, as it is exported.
    pub(crate) fn exported(&self, link: &Link) -> Option<InterfaceId> {
        instance(self.types[*self.worlds.get(link.source.part)?].exports.get(&link.source.export)?)
    }
}

fn instance(kind: &ItemKind) -> Option<InterfaceId> {
    match kind {
        ItemKind::Instance(interface) => Some(*interface),
        _ => None,
    }
}
