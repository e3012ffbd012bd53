//! Joins the parts as planned.

use std::{
    collections::BTreeSet,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
};

use wac_graph::{
    CompositionGraph, EncodeError, EncodeOptions, InstantiationArgumentError, NodeId,
    types::{InterfaceId, ItemKind, Package, WorldId},
};
use wasmparser::{BinaryReaderError, Parser, Validator, WasmFeatures};

use crate::{
    Composed, Difference, Extern, OwnImport, Part, Surface, WiringFault,
    bytes::{self, HandedOver},
    crossing::{imported, mentioned},
    links::{Link, Links},
    name::InterfaceName,
    plan::{PartPlan, Plan, Source},
    rename::{annotate, rename},
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
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(failed(&format!("wac panicked: {text}")))
    })
}

fn failed(reason: &dyn Display) -> Vec<WiringFault> {
    vec![WiringFault::Failed { reason: reason.to_string() }]
}

struct Joiner<'a> {
    parts: &'a [Part<'a>],
    plan: &'a Plan,
    /// What is wired beside what is planned.
    wires: Vec<bytes::Wire>,
    graph: CompositionGraph,
    /// One for each part, as the next.
    instances: Vec<NodeId>,
    worlds: Vec<WorldId>,
    /// What is served, by the number of the importer and the name that its import has here.
    served: BTreeSet<(usize, String)>,
}

impl<'a> Joiner<'a> {
    fn new(parts: &'a [Part<'a>], plan: &'a Plan) -> Result<Self, Vec<WiringFault>> {
        let HandedOver { parts: components, wires } = HandedOver::of(parts, plan);
        let mut joiner = Self {
            parts,
            plan,
            wires,
            graph: CompositionGraph::new(),
            instances: Vec::new(),
            worlds: Vec::new(),
            served: BTreeSet::new(),
        };
        let mut faults = Vec::new();
        for ((part, wasm), plan) in parts.iter().zip(&components).zip(&plan.parts) {
            if let Err(reason) = joiner.add(wasm, plan) {
                faults.push(WiringFault::Damaged { part: part.name.to_owned(), reason });
            }
        }
        if faults.is_empty() { Ok(joiner) } else { Err(faults) }
    }

    fn add(&mut self, wasm: &[u8], plan: &PartPlan) -> Result<(), String> {
        let wasm = rename(wasm, |name| plan.renamed(name)).map_err(|it| it.to_string())?;
        let key = self.worlds.len().to_string();
        let package = Package::from_bytes(&key, None, wasm, self.graph.types_mut())
            .map_err(|error| format!("damaged: {error:#}"))?;
        self.worlds.push(package.ty());
        let package = self.graph.register_package(package).map_err(|error| error.to_string())?;
        self.instances.push(self.graph.instantiate(package));
        Ok(())
    }

    /// Wires what parts serve.
    fn wire(&mut self) -> Result<(), Vec<WiringFault>> {
        let links = self.links().of(self.plan);
        self.served = links.iter().map(|link| (link.importer, link.import.clone())).collect();
        let mut faults = Vec::new();
        for link in &links {
            let crossing = self.crossing(link);
            if crossing.is_empty() {
                faults.extend(self.connect(link).err());
            }
            faults.extend(crossing);
        }
        faults.extend((0..self.parts.len()).flat_map(|part| self.split(part)));
        if faults.is_empty() {
            faults.extend(self.hand_over_bytes().err());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn links(&self) -> Links<'_> {
        Links { types: self.graph.types(), worlds: &self.worlds }
    }

    fn connect(&mut self, link: &Link) -> Result<(), WiringFault> {
        let failed = |error: &dyn Display| WiringFault::Failed {
            reason: format!("`{}`: {error}", link.import),
        };
        let (Some(importer), Some(exporter)) =
            (self.instances.get(link.importer), self.instances.get(link.source.part))
        else {
            return Err(failed(&"no such component"));
        };
        let (importer, exporter) = (*importer, *exporter);
        let argument = self
            .graph
            .alias_instance_export(exporter, &link.source.export)
            .map_err(|error| failed(&error))?;
        let set = self.graph.set_instantiation_argument(importer, &link.import, argument);
        set.map_err(|error| match error {
            InstantiationArgumentError::ArgumentTypeMismatch { source, .. } => {
                self.mismatch(link, format!("{source:#}"))
            }
            error => failed(&error),
        })
    }

    fn hand_over_bytes(&mut self) -> Result<(), WiringFault> {
        for bytes::Wire { importer, exporter, interface } in std::mem::take(&mut self.wires) {
            let source = Source { part: exporter, export: interface.clone() };
            self.connect(&Link { importer, import: interface, source })?;
        }
        Ok(())
    }

    fn mismatch(&self, link: &Link, reason: String) -> WiringFault {
        let (importer, exporter) = (link.importer, link.source.part);
        let wasm = |part: usize| self.parts.get(part).map(|part| part.wasm).unwrap_or_default();
        let import = self.original(importer, &link.import);
        let export = &link.source.export;
        WiringFault::Mismatch {
            importer: self.name(importer),
            exporter: self.name(exporter),
            difference: Difference::of(wasm(importer), import, wasm(exporter), export)
                .map(Box::new),
            interface: import.to_owned(),
            reason,
        }
    }

    /// Resources of one part's own imports that `link` would pass to the other.
    fn crossing(&self, link: &Link) -> Vec<WiringFault> {
        let mut crossing = BTreeSet::new();
        let sides = [
            (link.importer, self.links().imported(link)),
            (link.source.part, self.links().exported(link)),
        ];
        for (part, interface) in sides {
            for (resource, import) in self.mentioned(part, interface) {
                let own = self.plan.parts.get(part).map(|plan| &plan.own);
                let own = own.and_then(|own| own.iter().find(|(_, name)| **name == import));
                if let Some((own, _)) = own
                    && !self.served.contains(&(part, import))
                {
                    crossing.insert((own, resource));
                }
            }
        }
        let fault = |(own, resource): (&String, String)| WiringFault::OwnResource {
            importer: self.name(link.importer),
            exporter: self.name(link.source.part),
            interface: self.original(link.importer, &link.import).to_owned(),
            own: own.clone(),
            resource,
        };
        crossing.into_iter().map(fault).collect()
    }

    /// Imports that the host serves, and that pass resources of imports that another part serves.
    fn split(&self, part: usize) -> Vec<WiringFault> {
        let Some(world) = self.worlds.get(part) else { return Vec::new() };
        let mut faults = Vec::new();
        for (name, kind) in &self.graph.types()[*world].imports {
            let ItemKind::Instance(interface) = kind else { continue };
            if self.served.contains(&(part, name.clone())) {
                continue;
            }
            for (resource, import) in self.mentioned(part, Some(*interface)) {
                if self.served.contains(&(part, import.clone())) {
                    faults.push(WiringFault::Split {
                        importer: self.name(part),
                        interface: self.original(part, name).to_owned(),
                        resource,
                        served: self.original(part, &import).to_owned(),
                    });
                }
            }
        }
        faults
    }

    /// The resources that `interface` of `part` mentions, and the imports that define them.
    fn mentioned(&self, part: usize, interface: Option<InterfaceId>) -> Vec<(String, String)> {
        let (Some(world), Some(interface)) = (self.worlds.get(part), interface) else {
            return Vec::new();
        };
        let types = self.graph.types();
        let imported = imported(types, *world);
        let found = mentioned(types, interface).into_iter().filter_map(|id| imported.get(&id));
        found.map(|it| (it.resource.to_owned(), it.import.to_owned())).collect()
    }

    fn finish(mut self) -> Result<Composed, Vec<WiringFault>> {
        self.export().map_err(|reason| failed(&reason))?;
        let options = EncodeOptions { define_components: true, validate: false, processor: None };
        let wasm = self.graph.encode(options).map_err(|error| vec![self.unencodable(error)])?;
        let exports = self.plan.parts.first().map(|entry| entry.exports.as_slice());
        let wasm = annotate(wasm, exports.unwrap_or_default()).map_err(|error| failed(&error))?;
        validate(&wasm).map_err(|error| failed(&error))?;
        let imports = Surface::of(&wasm).map_err(|error| failed(&error))?.imports;
        let lost = self.lost(&imports);
        if lost.is_empty() { Ok(Composed { own: self.own(), wasm }) } else { Err(lost) }
    }

    /// What the entry exports, the whole exports.
    fn export(&mut self) -> Result<(), String> {
        let (Some(entry), Some(plan)) = (self.instances.first(), self.plan.parts.first()) else {
            return Ok(());
        };
        for export in &plan.exports {
            let alias = self.graph.alias_instance_export(*entry, &export.name);
            let alias = alias.map_err(|error| error.to_string())?;
            self.graph.export(alias, &export.name).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn unencodable(&self, error: EncodeError) -> WiringFault {
        match error {
            EncodeError::ImportTypeMergeConflict { import, first, second, source } => {
                let name = |node: NodeId| {
                    let number = self.instances.iter().position(|instance| *instance == node);
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

    /// Imports that are not among `imports`, which the composed component has: wac takes two that
    /// share one definition of their type for the same.
    fn lost(&self, imports: &[Extern]) -> Vec<WiringFault> {
        let is_there = |name: &str| {
            imports.iter().any(|import| {
                let names = (InterfaceName::parse(&import.name), InterfaceName::parse(name));
                import.name == name
                    || matches!(names, (Some(one), Some(other)) if one.is_compatible(&other))
            })
        };
        let mut lost = Vec::new();
        for (number, plan) in self.plan.parts.iter().enumerate() {
            for import in &plan.imports {
                let name = plan.renamed(&import.name);
                if !self.served.contains(&(number, name.to_owned())) && !is_there(name) {
                    let (part, import) = (self.name(number), import.name.clone());
                    lost.push(WiringFault::Lost { part, import });
                }
            }
        }
        lost
    }

    /// Those of the own imports that no part serves after all.
    fn own(&self) -> Vec<OwnImport> {
        let mut own = Vec::new();
        for (part, plan) in self.plan.parts.iter().enumerate() {
            for import in &plan.imports {
                if let Some(name) = plan.own.get(&import.name)
                    && !self.served.contains(&(part, name.clone()))
                {
                    own.push(OwnImport {
                        part,
                        interface: import.interface().to_owned(),
                        label: import.label().map(str::to_owned),
                        external_id: import.external_id.clone(),
                        name: name.clone(),
                    });
                }
            }
        }
        own
    }

    fn name(&self, part: usize) -> String {
        self.parts.get(part).map(|part| part.name.to_owned()).unwrap_or_default()
    }

    /// The name by which the part itself imports what is `import` here.
    fn original<'b>(&'b self, part: usize, import: &'b str) -> &'b str {
        let plan = self.plan.parts.get(part);
        plan.and_then(|plan| plan.imports.iter().find(|it| plan.renamed(&it.name) == import))
            .map_or(import, |import| &import.name)
    }
}

/// Validates all but the bodies of functions: those are the parts', and have been.
fn validate(wasm: &[u8]) -> Result<(), BinaryReaderError> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for payload in Parser::new(0).parse_all(wasm) {
        validator.payload(&payload?)?;
    }
    Ok(())
}
