//! From a checked app and its components to one that can run.

use std::{
    collections::BTreeMap,
    fmt, iter,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use dhow_capabilities::{GrantFault, Granted, Neighbourhood, Parts, UnlikeAuthorities, is_own};
use dhow_compose::WiringFault;
use dhow_engine::{Code, CompileError, LinkError, Maker, Reuse};
use dhow_manifest::{
    AboveCeiling, App, Ceilings, Component, Entry, HANDLER, Instances, Limits, MemorySize, Name,
    Part,
};
use dhow_package::{Artifact, Digest};
use thiserror::Error;

use crate::{
    Host, Tenant, assembly::Assembly, code::EntryCode, router::Router, surfaces::Surfaces,
};

/// An app whose components are joined and compiled, whose every import is served and whose every
/// route has a handler. Made only by [`Host::link`].
pub struct LinkedApp {
    pub(crate) app: App,
    /// Whose it is.
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) entries: Vec<LinkedEntry>,
    /// Gives indexes of `entries`.
    pub(crate) router: Router,
    /// Where its components find each other once it is live.
    pub(crate) neighbourhood: Neighbourhood,
}

/// What can be called: a component with its middleware, and whomever these use.
pub struct LinkedEntry {
    pub(crate) entry: Entry,
    /// The components that it is made of.
    pub(crate) parts: Box<[Name]>,
    pub(crate) code: Arc<EntryCode>,
    pub(crate) granted: Parts<Granted>,
    /// Of the component that answers.
    pub(crate) limits: Limits,
}

impl LinkedApp {
    /// The checked manifest.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Whose it is.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }
}

/// A component that may be part of entries.
struct Checked<'a> {
    artifact: &'a Artifact,
    granted: Granted,
}

impl Host {
    /// Joins the components of `app`, which is `tenant`'s, compiles and links them. `artifacts` has one for each.
    ///
    /// # Errors
    /// With everything that would keep the app from running.
    pub fn link(
        &self,
        tenant: &Arc<Tenant>,
        app: App,
        artifacts: &BTreeMap<Name, Artifact>,
    ) -> Result<LinkedApp, LinkFaults> {
        let mut faults = Vec::new();
        let mut checked = BTreeMap::new();
        let surfaces = Surfaces::of(&app, artifacts, &mut faults);
        let neighbourhood = Neighbourhood::default();
        for name in app.components().keys() {
            let Some(artifact) = artifacts.get(name) else {
                faults.push(LinkFault::NoArtifact { component: name.clone() });
                continue;
            };
            if let Some(granted) =
                check(tenant, &app, name, artifact, &surfaces, &neighbourhood, &mut faults)
            {
                checked.insert(name, Checked { artifact, granted });
            }
        }
        let (mut entries, mut code) = (Vec::new(), 0);
        for entry in app.entries() {
            let unfit = check_entry(tenant, &app, &entry, &surfaces);
            if !unfit.is_empty() {
                faults.extend(unfit);
                continue;
            }
            match self.link_entry(&app, &entry, artifacts, &checked) {
                Ok((linked, size)) => {
                    entries.push(linked);
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
        match Router::new(app.routes(), entries.iter().map(|linked| &linked.entry)) {
            Ok(router) => {
                Ok(LinkedApp { app, tenant: tenant.clone(), entries, router, neighbourhood })
            }
            Err(reason) => Err(LinkFaults(vec![LinkFault::Route(reason)])),
        }
    }

    fn link_entry(
        &self,
        app: &App,
        entry: &Entry,
        artifacts: &BTreeMap<Name, Artifact>,
        checked: &BTreeMap<&Name, Checked<'_>>,
    ) -> Result<(LinkedEntry, usize), Vec<LinkFault>> {
        let parts = app.parts(entry);
        let assembly = Assembly::of(&parts, artifacts).map_err(|_| Vec::new())?;
        let found: Vec<_> = parts.iter().filter_map(|part| checked.get(part.name)).collect();
        let bytes: Vec<_> =
            parts.iter().filter_map(|part| artifacts.get(part.name).map(Artifact::bytes)).collect();
        let joined = assembly
            .join(&bytes, &is_own)
            .map_err(|faults| faults.into_iter().map(LinkFault::Wiring).collect::<Vec<_>>())?;
        let component = app.components().get(&entry.component).ok_or_else(Vec::new)?;
        let reuse = reuse(&parts);
        // What is built here is the user's own, and what is not may be anybody's.
        let is_built =
            self.settings.trusts_builds && parts.iter().all(|part| part.component.build.is_some());
        let maker = if is_built { Maker::User } else { Maker::Anybody };
        let Some(first) = found.first().filter(|_| found.len() == parts.len()) else {
            // What is wrong with a component is said already.
            return Err(Vec::new());
        };
        let name = parts.first().map_or(&entry.component, |part| part.name);
        let code =
            self.load(name, first.artifact.path(), assembly.digest(), &joined.wasm, maker)?;
        let linked = self.core.loader.link(&code, &joined.own, assembly.len(), reuse);
        let http = entry_or_faults(name, &code, linked, |component, exports| {
            LinkFault::NoHandler { component, exports }
        })?;
        let granted = found.iter().map(|checked| checked.granted.clone()).collect();
        let granted = dhow_capabilities::join(granted)
            .map_err(|fault| vec![LinkFault::Authorities(fault)])?
            .ok_or_else(Vec::new)?;
        let names = parts.iter().map(|part| part.name.clone()).collect();
        let limits = component.limits;
        let size = code.size();
        let code = self.core.loader.loaded(assembly, joined.own, reuse, http);
        Ok((LinkedEntry { entry: entry.clone(), parts: names, code, granted, limits }, size))
    }

    pub(crate) fn load(
        &self,
        name: &Name,
        path: &Path,
        digest: Digest,
        wasm: &[u8],
        maker: Maker,
    ) -> Result<Code, Vec<LinkFault>> {
        let start = Instant::now();
        let code =
            self.core.loader.engine.load(wasm, digest.as_bytes(), maker).map_err(|error| {
                let (component, path) = (name.clone(), path.to_owned());
                vec![LinkFault::Damaged { component, path, error }]
            })?;
        let time = start.elapsed();
        if time > NOTICEABLE {
            tracing::info!(component = %name, "compiled in {time:.1?}");
        }
        Ok(code)
    }
}

/// What `component` is granted, whatever it is joined with.
fn check(
    tenant: &Tenant,
    app: &App,
    name: &Name,
    artifact: &Artifact,
    surfaces: &Surfaces,
    neighbourhood: &Neighbourhood,
    faults: &mut Vec<LinkFault>,
) -> Option<Granted> {
    let component = app.components().get(name)?;
    let before = faults.len();
    let Component { limits, grants, .. } = component;
    let quotas = grants.files.values().filter_map(|folder| folder.quota);
    let above = tenant.ceilings().exceeded(limits, quotas).into_iter();
    faults.extend(above.map(|fault| LinkFault::Limit { component: name.clone(), fault }));
    let imports = surfaces.imports_of_host(app, name, component, artifact, faults)?;
    match tenant.capabilities().grant(app.name(), name, component, &imports, neighbourhood) {
        Ok(granted) => (faults.len() == before).then_some(granted),
        Err(found) => {
            let fault = |fault| LinkFault::Grant { component: name.clone(), fault };
            faults.extend(found.into_iter().map(fault));
            None
        }
    }
}

/// What is wrong with `entry` that is wrong with none of its parts by itself.
fn check_entry(tenant: &Tenant, app: &App, entry: &Entry, surfaces: &Surfaces) -> Vec<LinkFault> {
    let mut faults = Vec::new();
    let parts = app.parts(entry);
    for part in &parts {
        let is_wired = || part.wires.iter().any(|wire| wire.interface.is_for(HANDLER));
        if surfaces.hands_on(part.name) && !is_wired() {
            let (component, entry) = (part.name.clone(), entry.clone());
            faults.push(LinkFault::NothingBehind { component, entry });
        }
    }
    if let [_, _, ..] = &parts[..] {
        // What an instance may have is what all of its parts may have.
        let memory = parts.iter().map(|part| part.component.limits.memory.bytes());
        let memory = MemorySize::from_bytes(memory.fold(0, u64::saturating_add));
        let ceilings = Ceilings { memory: tenant.ceilings().memory, ..Ceilings::default() };
        let above = ceilings.exceeded(&Limits { memory, ..Limits::default() }, iter::empty());
        let fault = |fault| LinkFault::JoinedLimit { entry: entry.clone(), fault };
        faults.extend(above.into_iter().map(fault));
    }
    let shares = reuse(&parts).is_some_and(|reuse| reuse.calls.get() > 1);
    if shares && app.calls_itself(entry) {
        faults.push(LinkFault::SharedCircle { entry: entry.clone() });
    }
    faults
}

/// How an instance of `parts` is used again: as far as all of them allow.
fn reuse(parts: &[Part<'_>]) -> Option<Reuse> {
    let mut least: Option<Reuse> = None;
    for part in parts {
        let Instances::Reused(reuse) = part.component.instances else { return None };
        let dhow_manifest::Reuse { requests, idle, calls } = reuse;
        least = Some(match least {
            None => Reuse { requests, idle, calls },
            Some(least) => Reuse {
                requests: least.requests.min(requests),
                idle: least.idle.min(idle),
                calls: least.calls.min(calls),
            },
        });
    }
    least
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
    match entry {
        Some(Ok(entry)) => Ok(entry),
        Some(Err(error)) => Err(vec![LinkFault::Mismatch { component: component.clone(), error }]),
        None => Err(vec![none(component.clone(), code.exports().to_vec())]),
    }
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
    Unserved { component: Name, import: String, nearest: Option<String>, exporters: Vec<Name> },
    #[error(
        "component `{component}` imports `{interface}` as `{label}`, and labels are not served"
    )]
    Labelled { component: Name, label: String, interface: String },
    #[error(
        "component `{component}` hands requests on, and in `{entry}` there is nobody behind it"
    )]
    NothingBehind { component: Name, entry: Entry },
    #[error("the components of `{entry}` together: {fault}")]
    JoinedLimit { entry: Entry, fault: AboveCeiling },
    #[error(
        "instances of `{entry}` answer several requests at a time, and call themselves by name: how \
         deep can't be known"
    )]
    SharedCircle { entry: Entry },
    #[error(transparent)]
    Wiring(WiringFault),
    #[error(transparent)]
    Authorities(UnlikeAuthorities),
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
            Self::Unserved { import, nearest, exporters, .. } => {
                Some(who_serves(import, nearest.as_deref(), exporters))
            }
            Self::NothingBehind { component, .. } => Some(format!(
                "it is middleware: name it before another component, middleware = [\"{component}\"]"
            )),
            Self::JoinedLimit { fault, .. } => Some(fault.help()),
            Self::Labelled { interface, .. } => {
                Some(format!("import `{interface}` by its own name"))
            }
            Self::SharedCircle { .. } => Some("write: instances = { calls = 1 }".to_owned()),
            Self::Wiring(fault) => fault.help(),
            Self::Authorities(_) => Some(
                "give both the same, or have one called by name: \
                 grants.http = [\"http://NAME.internal\"]"
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

/// Who could serve `import`: one of the app's own components, or the host by another name.
fn who_serves(import: &str, nearest: Option<&str>, exporters: &[Name]) -> String {
    if !exporters.is_empty() {
        let name = import.split_once('@').map_or(import, |(name, _)| name);
        let lines = exporters.iter().map(|by| format!("uses = {{ \"{name}\" = \"{by}\" }}"));
        return format!("write: {}", lines.collect::<Vec<_>>().join("\nor: "));
    }
    match nearest {
        Some(nearest) => format!("the nearest that is served: {nearest}"),
        None => "Dhow serves wasi:cli, clocks, filesystem, http, io, random and sockets, \
                 in versions 0.2 and 0.3; wasi:blobstore, config, keyvalue, logging, sql \
                 and tls; dhow:blobstore, keyvalue and sql; and Spin's"
            .to_owned(),
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
