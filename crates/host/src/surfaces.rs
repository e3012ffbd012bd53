//! What components import and export, and which imports are left to the host.

use std::collections::BTreeMap;

use dhow_capabilities::{is_served, nearest_served};
use dhow_compose::{Surface, is_types_only};
use dhow_engine::CompileError;
use dhow_manifest::{App, Component, HANDLER, Name};
use dhow_package::Artifact;

use crate::LinkFault;

/// The surfaces of an app's components, as far as they have one.
pub(crate) struct Surfaces(BTreeMap<Name, Surface>);

impl Surfaces {
    pub(crate) fn of(
        app: &App,
        artifacts: &BTreeMap<Name, Artifact>,
        faults: &mut Vec<LinkFault>,
    ) -> Self {
        let mut surfaces = BTreeMap::new();
        for name in app.components().keys() {
            let Some(artifact) = artifacts.get(name) else { continue };
            match Surface::of(artifact.bytes()) {
                Ok(surface) => drop(surfaces.insert(name.clone(), surface)),
                Err(error) => faults.push(LinkFault::Damaged {
                    component: name.clone(),
                    path: artifact.path().to_owned(),
                    error: CompileError::Invalid(error.to_string()),
                }),
            }
        }
        Self(surfaces)
    }

    /// The interfaces that `component` imports and no other component of the app serves. What the
    /// host does not serve either is a fault.
    pub(crate) fn imports_of_host(
        &self,
        app: &App,
        name: &Name,
        component: &Component,
        artifact: &Artifact,
        faults: &mut Vec<LinkFault>,
    ) -> Option<Vec<String>> {
        // A component that is middleware somewhere is served this wherever it is.
        let is_middleware =
            || app.routes().iter().any(|route| route.entry.middleware.contains(name));
        let is_wired = |import: &str| {
            component.uses.keys().any(|interface| interface.is_for(import))
                || (import.split('@').next() == Some(HANDLER) && is_middleware())
        };
        let mut imports = Vec::new();
        for import in &self.0.get(name)?.imports {
            let interface = import.interface();
            if is_wired(&import.name) || is_wired(interface) {
                continue;
            }
            // wasmtime's linker knows interfaces by their names only.
            if let Some(label) = import.label() {
                faults.push(LinkFault::Labelled {
                    component: name.clone(),
                    label: label.to_owned(),
                    interface: interface.to_owned(),
                });
                continue;
            }
            if !is_served(interface) && is_types_only(artifact.bytes(), &import.name) {
                continue;
            }
            imports.push(interface.to_owned());
        }
        let found = unserved(name, &imports).into_iter().map(|fault| match fault {
            LinkFault::Unserved { component, import, nearest, .. } => {
                let exporters = self.exporters(name, &import);
                LinkFault::Unserved { component, import, nearest, exporters }
            }
            other => other,
        });
        faults.extend(found);
        Some(imports)
    }

    /// Whether the component `name` imports who answers after it.
    pub(crate) fn hands_on(&self, name: &Name) -> bool {
        let is_handler = |import: &str| import.split('@').next() == Some(HANDLER);
        self.0.get(name).is_some_and(|surface| {
            surface.imports.iter().any(|import| is_handler(import.interface()))
        })
    }

    /// Who else exports `import`, in whatever version.
    fn exporters(&self, importer: &Name, import: &str) -> Vec<Name> {
        let path = |name: &str| name.split('@').next().map(str::to_owned);
        let exports = |surface: &Surface| {
            surface.exports.iter().any(|export| path(export.interface()) == path(import))
        };
        let others = self.0.iter().filter(|(name, surface)| *name != importer && exports(surface));
        others.map(|(name, _)| name.clone()).collect()
    }
}

/// A fault for each of `imports` that the host does not serve.
pub(crate) fn unserved(component: &Name, imports: &[String]) -> Vec<LinkFault> {
    imports
        .iter()
        .filter(|import| !is_served(import))
        .map(|import| LinkFault::Unserved {
            component: component.clone(),
            import: import.clone(),
            nearest: nearest_served(import),
            exporters: Vec::new(),
        })
        .collect()
}
