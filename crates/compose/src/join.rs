//! Joins the parts as planned.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use wac_graph::{
    CompositionGraph, EncodeError, EncodeOptions, InstantiationArgumentError, NodeId,
    types::{InterfaceId, ItemKind, Package, WorldId},
};
use wasmparser::{Parser, Validator, WasmFeatures};

use crate::{
    Composed, OwnImport, Part, Surface, WiringFault,
    crossing::{mentioned, own_resources},
    plan::{PartPlan, Plan, Source},
    rename::rename,
};

/// Joins `parts`, or finds out what keeps them from it. Where `is_wanted` is false, what is known
/// already keeps them from it, and there is no result.
pub(crate) fn join(
    parts: &[Part<'_>],
    plan: &Plan,
    is_wanted: bool,
) -> Result<Option<Composed>, Vec<WiringFault>> {
    // wac asserts what it did not foresee.
    let joined = catch_unwind(AssertUnwindSafe(|| {
        let mut joiner = Joiner::new(parts, plan)?;
        joiner.wire()?;
        if is_wanted { joiner.finish().map(Some) } else { Ok(None) }
    }));
    joined.unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        Err(vec![WiringFault::Failed { reason: format!("wac panicked: {reason}") }])
    })
}

struct Joiner<'a> {
    parts: &'a [Part<'a>],
    plan: &'a Plan,
    graph: CompositionGraph,
    /// One for each part.
    joined: Vec<Joined>,
}

#[derive(Clone, Copy)]
struct Joined {
    world: WorldId,
    instance: NodeId,
}

/// That the import `import` of the part `importer`, by the name that it has now, is served.
struct Link {
    importer: usize,
    import: String,
    source: Source,
}

impl<'a> Joiner<'a> {
    fn new(parts: &'a [Part<'a>], plan: &'a Plan) -> Result<Self, Vec<WiringFault>> {
        let mut graph = CompositionGraph::new();
        let mut joined = Vec::new();
        let mut faults = Vec::new();
        for (number, (part, plan)) in parts.iter().zip(&plan.parts).enumerate() {
            match add(&mut graph, number, part, plan) {
                Ok(added) => joined.push(added),
                Err(reason) => {
                    faults.push(WiringFault::Damaged { part: part.name.to_owned(), reason });
                }
            }
        }
        if faults.is_empty() { Ok(Self { parts, plan, graph, joined }) } else { Err(faults) }
    }

    /// Wires what parts serve.
    fn wire(&mut self) -> Result<(), Vec<WiringFault>> {
        let mut faults = Vec::new();
        for link in self.links() {
            let crossing = self.crossing(&link);
            let is_crossing = !crossing.is_empty();
            faults.extend(crossing);
            if is_crossing {
                continue;
            }
            if let Err(fault) = self.connect(&link) {
                faults.push(fault);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn connect(&mut self, link: &Link) -> Result<(), WiringFault> {
        let failed = |error: &dyn std::fmt::Display| WiringFault::Failed {
            reason: format!("`{}`: {error}", link.import),
        };
        let (Some(importer), Some(exporter)) =
            (self.joined.get(link.importer), self.joined.get(link.source.part))
        else {
            return Err(failed(&"no such component"));
        };
        let (importer, exporter) = (importer.instance, exporter.instance);
        let argument = self
            .graph
            .alias_instance_export(exporter, &link.source.export)
            .map_err(|error| failed(&error))?;
        self.graph.set_instantiation_argument(importer, &link.import, argument).map_err(|error| {
            match error {
                InstantiationArgumentError::ArgumentTypeMismatch { source, .. } => {
                    WiringFault::Mismatch {
                        importer: self.name(link.importer),
                        exporter: self.name(link.source.part),
                        interface: self.original(link),
                        reason: format!("{source:#}"),
                    }
                }
                error => failed(&error),
            }
        })
    }

    /// All that is planned, and what follows from it: where an interface comes from, there its types
    /// come from.
    fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        let mut known = BTreeSet::new();
        for (importer, plan) in self.plan.parts.iter().enumerate() {
            for (import, source) in &plan.served {
                known.insert((importer, import.clone()));
                links.push(Link { importer, import: import.clone(), source: source.clone() });
            }
        }
        let mut next = 0;
        while let Some(link) = links.get(next) {
            let implied = self.implied(link);
            let importer = link.importer;
            for (import, source) in implied {
                if known.insert((importer, import.clone())) {
                    links.push(Link { importer, import, source });
                }
            }
            next += 1;
        }
        links
    }

    /// The imports whose types the import of `link` uses, where the exporter takes the same types from
    /// its own exports.
    fn implied(&self, link: &Link) -> Vec<(String, Source)> {
        let (Some(imported), Some(exported)) = (self.imported(link), self.exported(link)) else {
            return Vec::new();
        };
        let (Some(importer), Some(exporter)) =
            (self.joined.get(link.importer), self.joined.get(link.source.part))
        else {
            return Vec::new();
        };
        let types = self.graph.types();
        let named =
            |interface: InterfaceId| move |kind: &ItemKind| *kind == ItemKind::Instance(interface);
        types[exported]
            .uses
            .iter()
            .filter_map(|(name, used)| {
                let is_used = named(used.interface);
                let exports = &types[exporter.world].exports;
                let (export, _) = exports.iter().find(|(_, kind)| is_used(kind))?;
                let is_used = named(types[imported].uses.get(name)?.interface);
                let imports = &types[importer.world].imports;
                let (import, _) = imports.iter().find(|(_, kind)| is_used(kind))?;
                let source = Source { part: link.source.part, export: export.clone() };
                Some((import.clone(), source))
            })
            .collect()
    }

    fn imported(&self, link: &Link) -> Option<InterfaceId> {
        let importer = self.joined.get(link.importer)?;
        match self.graph.types()[importer.world].imports.get(&link.import)? {
            ItemKind::Instance(interface) => Some(*interface),
            _ => None,
        }
    }

    fn exported(&self, link: &Link) -> Option<InterfaceId> {
        let exporter = self.joined.get(link.source.part)?;
        match self.graph.types()[exporter.world].exports.get(&link.source.export)? {
            ItemKind::Instance(interface) => Some(*interface),
            _ => None,
        }
    }

    /// Resources of one part's own imports that `link` would pass to the other.
    fn crossing(&self, link: &Link) -> Vec<WiringFault> {
        let types = self.graph.types();
        let mut crossing = BTreeSet::new();
        let sides = [(link.importer, self.imported(link)), (link.source.part, self.exported(link))];
        for (part, interface) in sides {
            let (Some(plan), Some(joined), Some(interface)) =
                (self.plan.parts.get(part), self.joined.get(part), interface)
            else {
                continue;
            };
            let own = own_resources(types, joined.world, &plan.own);
            let mentioned = mentioned(types, interface).into_iter();
            crossing.extend(mentioned.filter_map(|id| own.get(&id).cloned()));
        }
        crossing
            .into_iter()
            .map(|(resource, own)| WiringFault::OwnResource {
                importer: self.name(link.importer),
                exporter: self.name(link.source.part),
                interface: self.original(link),
                own,
                resource,
            })
            .collect()
    }

    fn finish(mut self) -> Result<Composed, Vec<WiringFault>> {
        let failed = |reason: String| vec![WiringFault::Failed { reason }];
        if let Some(entry) = self.joined.first().copied() {
            let exports: Vec<String> =
                self.graph.types()[entry.world].exports.keys().cloned().collect();
            for export in exports {
                self.graph
                    .alias_instance_export(entry.instance, &export)
                    .map_err(|error| failed(error.to_string()))
                    .and_then(|alias| {
                        self.graph.export(alias, &export).map_err(|error| failed(error.to_string()))
                    })?;
            }
        }
        let options = EncodeOptions { define_components: true, validate: false, processor: None };
        let wasm = self.graph.encode(options).map_err(|error| vec![self.unencodable(error)])?;
        validate(&wasm).map_err(|error| failed(error.to_string()))?;
        let own = self.own(&wasm)?;
        Ok(Composed { wasm, own })
    }

    fn unencodable(&self, error: EncodeError) -> WiringFault {
        match error {
            EncodeError::ImportTypeMergeConflict { import, first, second, source } => {
                let name = |node: NodeId| {
                    let number = self.joined.iter().position(|joined| joined.instance == node);
                    number.map(|number| self.name(number)).unwrap_or_default()
                };
                WiringFault::Unmergeable {
                    first: name(first),
                    second: name(second),
                    interface: import,
                    reason: format!("{source:#}"),
                }
            }
            error => WiringFault::Failed { reason: error.to_string() },
        }
    }

    /// Those of the own imports that the composed component has.
    fn own(&self, wasm: &[u8]) -> Result<Vec<OwnImport>, Vec<WiringFault>> {
        let failed = |reason: String| vec![WiringFault::Failed { reason }];
        let surface = Surface::of(wasm).map_err(|error| failed(error.to_string()))?;
        let imports: BTreeSet<&str> = surface.imports.iter().map(|it| it.name.as_str()).collect();
        let mut own = Vec::new();
        for (part, plan) in self.plan.parts.iter().enumerate() {
            for import in &plan.imports {
                let Some(name) = plan.own.get(&import.name) else { continue };
                if imports.contains(name.as_str()) {
                    own.push(OwnImport {
                        part,
                        interface: import.interface().to_owned(),
                        label: import.label().map(str::to_owned),
                        external_id: import.external_id.clone(),
                        name: name.clone(),
                    });
                } else if !self.is_served(part, name) {
                    return Err(failed(format!("the import `{name}` was lost")));
                }
            }
        }
        Ok(own)
    }

    fn is_served(&self, part: usize, import: &str) -> bool {
        self.joined.get(part).is_some_and(|joined| {
            let mut arguments = self.graph.get_instantiation_arguments(joined.instance);
            arguments.any(|(name, _)| name == import)
        })
    }

    fn name(&self, part: usize) -> String {
        self.parts.get(part).map(|part| part.name.to_owned()).unwrap_or_default()
    }

    /// The name by which the part itself imports what `link` serves.
    fn original(&self, link: &Link) -> String {
        let own = self.plan.parts.get(link.importer).map(|plan| &plan.own);
        own.and_then(|own| own.iter().find(|(_, own)| **own == link.import))
            .map_or(&link.import, |(import, _)| import)
            .clone()
    }
}

fn add(
    graph: &mut CompositionGraph,
    number: usize,
    part: &Part<'_>,
    plan: &PartPlan,
) -> Result<Joined, String> {
    let wasm = rename(part.wasm, &plan.own).map_err(|error| error.to_string())?;
    let package = Package::from_bytes(&number.to_string(), None, wasm, graph.types_mut())
        .map_err(|error| format!("damaged: {error:#}"))?;
    let world = package.ty();
    let package = graph.register_package(package).map_err(|error| error.to_string())?;
    Ok(Joined { world, instance: graph.instantiate(package) })
}

/// Validates all but the bodies of functions: those are the parts', and have been.
fn validate(wasm: &[u8]) -> Result<(), wasmparser::BinaryReaderError> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for payload in Parser::new(0).parse_all(wasm) {
        validator.payload(&payload?)?;
    }
    Ok(())
}
