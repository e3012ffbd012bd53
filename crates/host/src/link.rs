//! From a checked app and its components to one that can run.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dhow_capabilities::{GrantFault, Granted, is_served, nearest_served};
use dhow_engine::{Code, CompileError, HttpEntry, LinkError, Maker, Reuse};
use dhow_manifest::{AboveCeiling, App, Component, Instances, Limits, Name};
use dhow_package::Artifact;
use thiserror::Error;

use crate::{Host, code::ComponentCode, router::Router};

/// An app whose components are compiled, whose every import is served and whose every route has a
/// handler. Made only by [`Host::link`].
pub struct LinkedApp {
    pub(crate) app: App,
    /// In the order of their names.
    pub(crate) components: Vec<LinkedComponent>,
    /// Gives indexes of `components`.
    pub(crate) router: Router,
}

/// A component that can be called.
pub struct LinkedComponent {
    pub(crate) name: Name,
    pub(crate) code: Arc<ComponentCode>,
    pub(crate) granted: Granted,
    pub(crate) limits: Limits,
}

impl LinkedApp {
    /// The checked manifest.
    pub fn app(&self) -> &App {
        &self.app
    }
}

impl Host {
    /// Compiles the components of `app` and links them. `artifacts` has one for each.
    ///
    /// # Errors
    /// With everything that would keep the app from running.
    pub fn link(
        &self,
        app: App,
        artifacts: &BTreeMap<Name, Artifact>,
    ) -> Result<LinkedApp, LinkFaults> {
        let mut faults = Vec::new();
        let mut components = Vec::new();
        let mut code = 0;
        for (name, component) in app.components() {
            let Some(artifact) = artifacts.get(name) else {
                faults.push(LinkFault::NoArtifact { component: name.clone() });
                continue;
            };
            match self.link_component(app.name(), name, component, artifact) {
                Ok((linked, size)) => {
                    components.push(linked);
                    code += size as u64;
                }
                Err(found) => faults.extend(found),
            }
        }
        let budget = self.settings.code_budget;
        if code > budget {
            faults.push(LinkFault::CodeBudget { code, budget });
        }
        if !faults.is_empty() {
            return Err(LinkFaults(faults));
        }
        match Router::new(app.routes(), app.components().keys()) {
            Ok(router) => Ok(LinkedApp { app, components, router }),
            Err(reason) => Err(LinkFaults(vec![LinkFault::Route(reason)])),
        }
    }

    fn link_component(
        &self,
        app: &Name,
        name: &Name,
        component: &Component,
        artifact: &Artifact,
    ) -> Result<(LinkedComponent, usize), Vec<LinkFault>> {
        let mut faults = Vec::new();
        let reuse = match component.instances {
            Instances::Fresh => None,
            Instances::Reused(reuse) => {
                let dhow_manifest::Reuse { requests, idle, calls } = reuse;
                Some(Reuse { requests, idle, calls })
            }
        };
        // What is built here is the user's own, and what is not may be anybody's.
        let maker = if component.build.is_some() { Maker::User } else { Maker::Anybody };
        let Component { limits, grants, .. } = component;
        let quotas = grants.files.values().filter_map(|folder| folder.quota);
        let above = self.settings.ceilings.exceeded(limits, quotas).into_iter();
        faults.extend(above.map(|fault| LinkFault::Limit { component: name.clone(), fault }));
        let mut size = 0;
        let mut granted = None;
        let entry = match self.load(name, artifact, maker) {
            Ok(code) => {
                size = code.size();
                let found = self.capabilities.grant(app, name, component, code.imports());
                granted = found
                    .map_err(|found| {
                        faults.extend(
                            found
                                .into_iter()
                                .map(|fault| LinkFault::Grant { component: name.clone(), fault }),
                        );
                    })
                    .ok();
                let entry = HttpEntry::new(&self.loader.engine, &self.loader.linker, &code, reuse);
                entry_or_faults(name, &code, entry, |component, exports| LinkFault::NoHandler {
                    component,
                    exports,
                })
            }
            Err(fault) => Err(vec![fault]),
        }
        .map_err(|found| faults.extend(found));
        match (granted, entry) {
            (Some(granted), Ok(entry)) if faults.is_empty() => {
                let code = self.loader.loaded(artifact, reuse, entry);
                let (name, limits) = (name.clone(), component.limits);
                Ok((LinkedComponent { name, code, granted, limits }, size))
            }
            _ => Err(faults),
        }
    }

    pub(crate) fn load(
        &self,
        name: &Name,
        artifact: &Artifact,
        maker: Maker,
    ) -> Result<Code, LinkFault> {
        let start = Instant::now();
        let digest = artifact.digest();
        let code = self.loader.engine.load(artifact.bytes(), digest.as_bytes(), maker);
        let code = code.map_err(|error| LinkFault::Damaged {
            component: name.clone(),
            path: artifact.path().to_owned(),
            error,
        })?;
        let time = start.elapsed();
        if time > NOTICEABLE {
            tracing::info!(component = %name, "compiled in {time:.1?}");
        }
        Ok(code)
    }
}

/// What a person notices; from the code cache it takes less.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// What linking came to: `entry` is `None` where the component has no such export, which `none`
/// says.
pub(crate) fn entry_or_faults<E>(
    component: &Name,
    code: &Code,
    entry: Option<Result<E, dhow_engine::LinkError>>,
    none: impl FnOnce(Name, Vec<String>) -> LinkFault,
) -> Result<E, Vec<LinkFault>> {
    let mut faults = unserved(component, code);
    match entry {
        Some(Ok(entry)) => return Ok(entry),
        // Where an import is missing, that is the reason, and said already.
        Some(Err(error)) if faults.is_empty() => {
            faults.push(LinkFault::Mismatch { component: component.clone(), error });
        }
        Some(Err(_)) => {}
        None => faults.push(none(component.clone(), code.exports().to_vec())),
    }
    Err(faults)
}

fn unserved(component: &Name, code: &Code) -> Vec<LinkFault> {
    code.imports()
        .iter()
        .filter(|import| !is_served(import))
        .map(|import| LinkFault::Unserved {
            component: component.clone(),
            import: import.clone(),
            nearest: nearest_served(import),
        })
        .collect()
}

/// Something that keeps an app from running.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum LinkFault {
    #[error("component `{component}` has no file")]
    NoArtifact { component: Name },
    #[error("component `{component}` is {error} ({})", path.display())]
    Damaged { component: Name, path: PathBuf, error: CompileError },
    #[error("component `{component}` imports `{import}`, which nobody serves")]
    Unserved { component: Name, import: String, nearest: Option<String> },
    #[error("component `{component}` does not fit: {error}")]
    Mismatch { component: Name, error: LinkError },
    #[error("component `{component}` has no HTTP handler: it exports {}", list(exports))]
    NoHandler { component: Name, exports: Vec<String> },
    #[error("component `{component}` is no command: it exports {}", list(exports))]
    NoCommand { component: Name, exports: Vec<String> },
    #[error("component `{component}`: {fault}")]
    Grant { component: Name, fault: GrantFault },
    #[error("component `{component}`: {fault}")]
    Limit { component: Name, fault: AboveCeiling },
    #[error("the app's compiled code takes {code} bytes, and {budget} are allowed")]
    CodeBudget { code: u64, budget: u64 },
    #[error("the routes contradict each other: {0}")]
    Route(String),
}

impl LinkFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unserved { nearest: Some(nearest), .. } => {
                Some(format!("the nearest that is served: {nearest}"))
            }
            Self::Unserved { nearest: None, .. } => Some(
                "Dhow serves wasi:cli, clocks, filesystem, http, io, random and sockets, \
                 in versions 0.2 and 0.3; wasi:blobstore, config, keyvalue \
                 and logging; and dhow:blobstore and sql"
                    .to_owned(),
            ),
            Self::CodeBudget { code, .. } => {
                let mib = code.div_ceil(1 << 20);
                Some(format!("leave out a component, or allow it: --max-code {mib}MiB"))
            }
            Self::NoHandler { exports, .. } => {
                let is_command = exports.iter().any(|export| export.starts_with("wasi:cli/run@"));
                Some(if is_command {
                    "it is a command: run it with `dhow run`".to_owned()
                } else {
                    "needed is wasi:http/handler@0.3 (world wasi:http/service) \
                     or wasi:http/incoming-handler@0.2 (world wasi:http/proxy)"
                        .to_owned()
                })
            }
            Self::NoCommand { exports, .. } => {
                let is_handler = exports.iter().any(|export| {
                    export.starts_with("wasi:http/handler@")
                        || export.starts_with("wasi:http/incoming-handler@")
                });
                Some(if is_handler {
                    "it answers HTTP requests: serve it with `dhow up`".to_owned()
                } else {
                    "needed is wasi:cli/run (world wasi:cli/command), of WASI 0.2 or 0.3".to_owned()
                })
            }
            Self::Grant { fault, .. } => Some(fault.help()),
            Self::Limit { fault, .. } => Some(fault.help()),
            Self::Damaged { .. } => Some("build it again".to_owned()),
            Self::NoArtifact { .. } | Self::Mismatch { .. } | Self::Route(_) => None,
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

/// Everything that keeps an app from running; never empty.
#[derive(Debug)]
pub struct LinkFaults(Vec<LinkFault>);

impl From<Vec<LinkFault>> for LinkFaults {
    fn from(faults: Vec<LinkFault>) -> Self {
        Self(faults)
    }
}

impl LinkFaults {
    /// The faults.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &LinkFault> {
        self.0.iter()
    }
}

impl fmt::Display for LinkFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LinkFaults {}
