//! Who serves what, as far as names tell.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{Validator, WasmFeatures};

use crate::{
    Part, Surface, Wire, WiringFault,
    name::{InterfaceName, own_name},
    surface::Extern,
};

/// What becomes of each import of each part.
pub(crate) struct Plan {
    pub(crate) parts: Vec<PartPlan>,
}

/// What becomes of the imports of one part. Those that are in neither stay as they are.
pub(crate) struct PartPlan {
    pub(crate) imports: Vec<Extern>,
    pub(crate) exports: Vec<Extern>,
    /// The exports of other parts that serve imports, by the names of the imports.
    pub(crate) served: BTreeMap<String, Source>,
    /// The own names of imports, by their names.
    pub(crate) own: BTreeMap<String, String>,
    /// The names of imports that are merged with a newer version's, by their names.
    pub(crate) shared: BTreeMap<String, String>,
}

impl PartPlan {
    fn unserved(&self) -> impl Iterator<Item = &Extern> {
        self.imports.iter().filter(|import| !self.served.contains_key(&import.name))
    }

    fn shared(&self) -> impl Iterator<Item = &Extern> {
        self.unserved().filter(|import| !self.own.contains_key(&import.name))
    }

    /// The name that the import `name` gets.
    pub(crate) fn renamed<'a>(&'a self, name: &'a str) -> &'a str {
        self.own.get(name).or_else(|| self.shared.get(name)).map_or(name, String::as_str)
    }
}

/// An export of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) part: usize,
    pub(crate) export: String,
}

/// The surface of each part, `None` where it has none.
pub(crate) fn surfaces(parts: &[Part<'_>], faults: &mut Vec<WiringFault>) -> Vec<Option<Surface>> {
    parts
        .iter()
        .map(|part| {
            let surface = Surface::of(part.wasm).map_err(|error| error.to_string());
            let surface = surface.and_then(|surface| {
                Validator::new_with_features(WasmFeatures::all())
                    .validate_all(part.wasm)
                    .map(|_| surface)
                    .map_err(|error| format!("damaged: {error}"))
            });
            surface
                .map_err(|reason| {
                    faults.push(WiringFault::Damaged { part: part.name.to_owned(), reason });
                })
                .ok()
        })
        .collect()
}

impl Plan {
    pub(crate) fn of(
        parts: &[Part<'_>],
        surfaces: &[Option<Surface>],
        is_own: &dyn Fn(&str) -> bool,
        faults: &mut Vec<WiringFault>,
    ) -> Self {
        check_shape(parts, faults);
        let mut planned: Vec<PartPlan> = parts
            .iter()
            .zip(surfaces)
            .map(|(part, surface)| PartPlan {
                imports: surface.as_ref().map(|it| it.imports.clone()).unwrap_or_default(),
                exports: surface.as_ref().map(|it| it.exports.clone()).unwrap_or_default(),
                served: served(part, surface.as_ref(), parts, surfaces, faults),
                own: BTreeMap::new(),
                shared: BTreeMap::new(),
            })
            .collect();
        name_own(parts, &mut planned, is_own, faults);
        check_labels(parts, &planned, faults);
        name_shared(&mut planned);
        Self { parts: planned }
    }
}

/// Gives the parts' own imports their names.
fn name_own(
    parts: &[Part<'_>],
    planned: &mut [PartPlan],
    is_own: &dyn Fn(&str) -> bool,
    faults: &mut Vec<WiringFault>,
) {
    let is_own = |import: &Extern| is_own(import.interface());
    let mut taken: Vec<String> = planned
        .iter()
        .flat_map(|plan| plan.unserved().filter(|import| !is_own(import)))
        .map(|import| import.name.clone())
        .collect();
    for (part, plan) in parts.iter().zip(planned) {
        let mut own = BTreeMap::new();
        for import in plan.unserved() {
            let is_own = is_own(import);
            faults.extend(annotated(part, import, is_own));
            if !is_own {
                continue;
            }
            if let Some(name) = free_name(part.name, import, &taken) {
                taken.push(name.clone());
                own.insert(import.name.clone(), name);
            } else {
                let (part, import) = (part.name.to_owned(), import.name.clone());
                faults.push(WiringFault::Nameless { part, import });
            }
        }
        plan.own = own;
    }
}

/// Checks that labels that are merged stand for the same interface.
fn check_labels(parts: &[Part<'_>], planned: &[PartPlan], faults: &mut Vec<WiringFault>) {
    let mut labels: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (part, plan) in parts.iter().zip(planned) {
        for import in plan.shared() {
            let Some(label) = import.label() else { continue };
            let (first, interface) =
                *labels.entry(label).or_insert((part.name, import.interface()));
            if interface != import.interface() {
                faults.push(WiringFault::Unmergeable {
                    first: first.to_owned(),
                    second: part.name.to_owned(),
                    interface: label.to_owned(),
                    reason: format!("as `{interface}` and as `{}`", import.interface()),
                });
            }
        }
    }
}

/// Gives imports that are merged, since their versions are compatible, the newest one's name: what
/// comes of it has all that the newest has.
fn name_shared(planned: &mut [PartPlan]) {
    let shared: Vec<String> =
        planned.iter().flat_map(|plan| plan.shared().map(|import| import.name.clone())).collect();
    for plan in planned {
        let mut names = BTreeMap::new();
        for import in plan.shared() {
            let Some(name) = InterfaceName::parse(&import.name) else { continue };
            let merged = |other: &&str| {
                InterfaceName::parse(other).is_some_and(|other| other.is_compatible(&name))
            };
            // A part can't have two imports of the same name.
            if plan.shared().map(|it| it.name.as_str()).filter(merged).count() > 1 {
                continue;
            }
            let versions = shared.iter().map(String::as_str).filter(merged);
            let newest = versions
                .max_by_key(|other| InterfaceName::parse(other).and_then(|name| name.semver()));
            if let Some(newest) = newest.filter(|newest| *newest != import.name) {
                names.insert(import.name.clone(), newest.to_owned());
            }
        }
        plan.shared = names;
    }
}

/// Checks which parts use which, whatever they use of each other.
fn check_shape(parts: &[Part<'_>], faults: &mut Vec<WiringFault>) {
    let mut names = BTreeSet::new();
    for part in parts {
        if !names.insert(part.name) {
            faults.push(WiringFault::SameName { part: part.name.to_owned() });
        }
    }
    let mut walk = Walk { parts, path: Vec::new(), done: BTreeSet::new(), faults };
    walk.visit(0);
    let reached = walk.done.clone();
    for (number, part) in parts.iter().enumerate() {
        if !reached.contains(&number) {
            walk.faults.push(WiringFault::Unused { part: part.name.to_owned() });
            walk.visit(number);
        }
    }
}

struct Walk<'a, 'b> {
    parts: &'a [Part<'b>],
    /// From the one that the walk began with to the one where it is.
    path: Vec<usize>,
    done: BTreeSet<usize>,
    faults: &'a mut Vec<WiringFault>,
}

impl Walk<'_, '_> {
    fn visit(&mut self, number: usize) {
        let Some(part) = self.parts.get(number) else { return };
        if let Some(start) = self.path.iter().position(|on_path| *on_path == number) {
            let cycle = self.path.iter().skip(start).chain([&number]);
            let path = cycle.filter_map(|it| self.parts.get(*it)).map(|it| it.name.to_owned());
            self.faults.push(WiringFault::Cycle { path: path.collect() });
            return;
        }
        if self.done.contains(&number) {
            return;
        }
        self.path.push(number);
        let used: BTreeSet<usize> = part.uses.iter().map(|wire| wire.part).collect();
        for next in used {
            self.visit(next);
        }
        self.path.pop();
        self.done.insert(number);
    }
}

fn served(
    part: &Part<'_>,
    surface: Option<&Surface>,
    parts: &[Part<'_>],
    surfaces: &[Option<Surface>],
    faults: &mut Vec<WiringFault>,
) -> BTreeMap<String, Source> {
    let mut served: BTreeMap<String, Source> = BTreeMap::new();
    for wire in &part.uses {
        let Some(exporter) = parts.get(wire.part) else {
            faults.push(WiringFault::NoPart {
                importer: part.name.to_owned(),
                interface: wire.interface.to_owned(),
                number: wire.part,
            });
            continue;
        };
        let exported = surfaces.get(wire.part).and_then(Option::as_ref);
        let (Some(surface), Some(exported)) = (surface, exported) else { continue };
        let mut is_imported = false;
        for import in surface.imports.iter().filter(|import| matches(wire, import)) {
            is_imported = true;
            match source(part.name, import, exporter.name, exported) {
                Ok(export) => {
                    let source = Source { part: wire.part, export };
                    if served
                        .insert(import.name.clone(), source.clone())
                        .is_some_and(|it| it != source)
                    {
                        faults.push(WiringFault::ServedTwice {
                            importer: part.name.to_owned(),
                            interface: import.name.clone(),
                        });
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !is_imported {
            faults.push(WiringFault::NotImported {
                importer: part.name.to_owned(),
                interface: wire.interface.to_owned(),
                exporter: exporter.name.to_owned(),
                imports: surface.imports.iter().map(|it| it.interface().to_owned()).collect(),
            });
        }
    }
    served
}

fn matches(wire: &Wire<'_>, import: &Extern) -> bool {
    if wire.interface == import.name {
        return true;
    }
    match (InterfaceName::parse(wire.interface), InterfaceName::parse(import.interface())) {
        (Some(wanted), Some(imported)) if wanted.has_version() => wanted.is_compatible(&imported),
        (Some(wanted), Some(imported)) => wanted.is_same(&imported),
        _ => false,
    }
}

/// The export of `exporter` that serves `import`: of the same version, or else the newest that is
/// compatible.
fn source(
    importer: &str,
    import: &Extern,
    exporter: &str,
    exported: &Surface,
) -> Result<String, WiringFault> {
    let interface = import.interface();
    let is_exact = |export: &&Extern| export.interface() == interface;
    let exact = exported.exports.iter().filter(is_exact);
    // Of several by label that of the same label.
    if let Some(export) = exact.max_by_key(|export| export.name == import.name) {
        return Ok(export.name.clone());
    }
    let wanted = InterfaceName::parse(interface);
    let found = |is_served: &dyn Fn(&InterfaceName<'_>, &InterfaceName<'_>) -> bool| {
        let named = exported.exports.iter().filter_map(|export| {
            let name = InterfaceName::parse(export.interface())?;
            is_served(&wanted?, &name).then(|| (name.semver(), export))
        });
        named.max_by(|one, two| one.0.cmp(&two.0)).map(|(_, export)| export)
    };
    if let Some(export) = found(&|one, two| one.is_compatible(two)) {
        return Ok(export.name.clone());
    }
    let (importer, exporter) = (importer.to_owned(), exporter.to_owned());
    Err(match found(&|one, two| one.is_same(two)) {
        Some(export) => WiringFault::Version {
            importer,
            imported: interface.to_owned(),
            exporter,
            exported: export.interface().to_owned(),
        },
        None => WiringFault::NotExported {
            importer,
            exporter,
            interface: interface.to_owned(),
            exports: exported.exports.iter().map(|it| it.interface().to_owned()).collect(),
        },
    })
}

/// What would be lost of `import`, which the composed component has too.
fn annotated(part: &Part<'_>, import: &Extern, is_own: bool) -> Option<WiringFault> {
    let what = if import.has_version_suffix {
        "a version suffix"
    } else if import.external_id.is_some() && !is_own {
        "an external-id"
    } else {
        return None;
    };
    Some(WiringFault::Annotated { part: part.name.to_owned(), import: import.name.clone(), what })
}

/// A name that no other import has, nor one that is merged with it. Only where a component has the
/// name of a real namespace can the first be taken.
fn free_name(component: &str, import: &Extern, taken: &[String]) -> Option<String> {
    let mut component = component.to_owned();
    loop {
        let name = own_name(&component, import.label(), import.interface())?;
        let parsed = InterfaceName::parse(&name)?;
        let is_taken = taken.iter().any(|other| {
            InterfaceName::parse(other).is_some_and(|other| other.is_compatible(&parsed))
        });
        if !is_taken {
            return Some(name);
        }
        component.push_str("--own");
    }
}
