//! What a component can be granted, one file for each capability.
//!
//! A capability is three functions: `grant` holds what the manifest asks for against what the
//! host has, once for each revision; `link` adds the interfaces to a linker, once for each
//! engine; `open` makes the state of one instance and does no I/O.
//!
//! Capabilities know nothing of triggers, nor of the limits of tenants: memory and time are
//! enforced by the engine's budget.

mod backends;
mod command;
mod config;
mod egress;
mod environment;
mod files;
mod http_client;
mod interfaces;
mod keyvalue;
mod logging;
mod sockets;
mod sql;
mod stdio;
mod tls;

use std::sync::Arc;

use dhow_engine::{Budget, InstanceState};
use dhow_manifest::{Component, Grants, Name, Sockets};
use thiserror::Error;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use backends::Labels;

pub use backends::{BackendError, Backends, UnboundBackend};
pub use command::{CommandGrants, FolderGrant, OpenFolderError};
pub use config::UnknownSecret;
pub use environment::MissingVariable;
pub use files::UnknownFolder;
pub use interfaces::{is_served, nearest_served};
pub use stdio::{GuestOutput, LogLevel, Stream};
pub use tls::UnknownAuthority;

/// What all instances of the process share.
pub struct Capabilities {
    output: Arc<dyn GuestOutput>,
    host_environment: Box<HostEnvironment>,
    backends: Backends,
}

/// Gives the value of a variable of the environment that Dhow itself runs in.
type HostEnvironment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What one component of a revision may do: the manifest's grants, held against the host.
pub struct Granted {
    component: Name,
    memory_limit: u64,
    http: http_client::Granted,
    environment: environment::Granted,
    sockets: sockets::Granted,
    keyvalue: keyvalue::Granted,
    sql: sql::Granted,
    files: files::Granted,
    tls: tls::Granted,
    config: config::Granted,
}

/// What is wrong with a grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum GrantFault {
    #[error(transparent)]
    Variable(#[from] MissingVariable),
    #[error(transparent)]
    Backend(#[from] UnboundBackend),
    #[error(transparent)]
    Secret(#[from] UnknownSecret),
    #[error(transparent)]
    Folder(#[from] UnknownFolder),
    #[error(transparent)]
    Authority(#[from] UnknownAuthority),
    #[error("it imports `{import}`, and nothing is granted for that")]
    Ungranted { import: String, line: &'static str },
    #[error("it has {grant}, and imports nothing of {interface}")]
    Unused { grant: &'static str, interface: &'static str },
}

impl GrantFault {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Variable(MissingVariable(name)) => format!("set it: export {name}=…"),
            Self::Backend(UnboundBackend(name)) => {
                format!("write in the operator's configuration: [backend.{name}]")
            }
            Self::Secret(UnknownSecret(name)) => format!(
                "write in the operator's configuration: secrets.{name} = \"${{VARIABLE}}\", \
                 or {{ file = \"PATH\" }}"
            ),
            Self::Folder(folder) => folder.help(),
            Self::Authority(_) => {
                "name a file of certificates in PEM: grants.ca = \"ca.pem\"".to_owned()
            }
            Self::Ungranted { line, .. } => format!("write: {line}"),
            Self::Unused { grant, .. } => format!("remove {grant}"),
        }
    }
}

/// What was granted; what is wrong with it goes to `faults`.
fn kept<T, F>(granted: Result<T, Vec<F>>, faults: &mut Vec<GrantFault>) -> Option<T>
where
    GrantFault: From<F>,
{
    granted.map_err(|found| faults.extend(found.into_iter().map(GrantFault::from))).ok()
}

/// Grants that nothing is done with, and imports that would need one.
///
/// What every component of some toolchain imports (Python's and Go's: sockets, files, HTTP) is no
/// fault: those who never call it need no grant. Stores are imported on purpose.
fn unmatched(grants: &Grants, imports: &[String]) -> Vec<GrantFault> {
    let imported = |prefix: &str| imports.iter().find(|import| import.starts_with(prefix)).cloned();
    let mut faults = Vec::new();
    let has_client =
        imported("wasi:http/client@").or_else(|| imported("wasi:http/outgoing-handler@"));
    for (is_granted, is_imported, grant, interface) in [
        (!grants.http.is_empty(), has_client.is_some(), "grants.http", "wasi:http/client"),
        (
            grants.sockets != Sockets::default(),
            imported("wasi:sockets/").is_some(),
            "grants.sockets",
            "wasi:sockets",
        ),
        (
            !grants.keyvalue.is_empty(),
            imported("wasi:keyvalue/").is_some(),
            "grants.keyvalue",
            "wasi:keyvalue",
        ),
        (!grants.sql.is_empty(), imported("dhow:sql/").is_some(), "grants.sql", "dhow:sql"),
        (
            !grants.files.is_empty(),
            imported("wasi:filesystem/").is_some(),
            "grants.files",
            "wasi:filesystem",
        ),
        (
            !grants.config.is_empty() || !grants.secrets.is_empty(),
            imported("wasi:config/").is_some(),
            "grants.config or grants.secrets",
            "wasi:config",
        ),
    ] {
        if is_granted && !is_imported {
            faults.push(GrantFault::Unused { grant, interface });
        }
    }
    for (is_granted, prefix, line) in [
        (
            !grants.keyvalue.is_empty(),
            "wasi:keyvalue/",
            r#"grants.keyvalue = { default = "default" }"#,
        ),
        (!grants.sql.is_empty(), "dhow:sql/", r#"grants.sql = { default = "default" }"#),
    ] {
        if let Some(import) = imported(prefix).filter(|_| !is_granted) {
            faults.push(GrantFault::Ungranted { import, line });
        }
    }
    faults
}

/// The most entries that an instance can have in its table of host resources: streams, bodies,
/// headers, pollables. With what each can hold ([`MAX_FIELDS`], and the client's chunk sizes) this
/// bounds what a guest can make the host keep, which its memory limit does not count.
const MAX_RESOURCES: usize = 2_048;

/// The largest set of headers or trailers, in bytes: what servers and proxies take.
const MAX_FIELDS: usize = 64 << 10;

/// The longest list of random bytes that a guest can ask for at once.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

impl Capabilities {
    /// What guests write goes to `output`; variables that a manifest passes on are looked up in
    /// `host_environment`; what a manifest names as a backend in `backends`.
    pub fn new(
        output: Arc<dyn GuestOutput>,
        host_environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        backends: Backends,
    ) -> Self {
        Self { output, host_environment: Box::new(host_environment), backends }
    }

    /// Holds what the manifest grants `component` against what the host has, and against what the
    /// component imports.
    ///
    /// # Errors
    /// With every grant that can't be given or that nothing is done with, and every import that
    /// would need one.
    pub fn grant(
        &self,
        name: &Name,
        component: &Component,
        imports: &[String],
    ) -> Result<Granted, Vec<GrantFault>> {
        let grants = &component.grants;
        let mut faults = unmatched(grants, imports);
        let environment =
            kept(environment::grant(&grants.env, &self.host_environment), &mut faults);
        let keyvalue =
            kept(Labels::grant(name, &grants.keyvalue, &self.backends.keyvalue), &mut faults);
        let sql = kept(Labels::grant(name, &grants.sql, &self.backends.sql), &mut faults);
        let files = kept(files::grant(name, &grants.files, &self.backends.volumes), &mut faults);
        let ca = grants.ca.as_deref().map(|ca| self.backends.volumes.path_of(ca));
        let tls = kept(tls::grant(ca.as_deref(), &self.backends.tls), &mut faults);
        let config = kept(
            config::grant(&grants.config, &grants.secrets, &self.backends.secrets),
            &mut faults,
        );
        let (
            Some(environment),
            Some(keyvalue),
            Some(sql),
            Some(files),
            Some(tls),
            Some(config),
            true,
        ) = (environment, keyvalue, sql, files, tls, config, faults.is_empty())
        else {
            return Err(faults);
        };
        Ok(Granted {
            component: name.clone(),
            memory_limit: component.limits.memory.bytes(),
            http: http_client::grant(name, &grants.http, &tls),
            environment,
            sockets: sockets::grant(name, &grants.sockets),
            keyvalue,
            sql,
            files,
            tls,
            config,
        })
    }

    /// Makes the state of one instance.
    pub fn open(&self, granted: &Granted) -> State {
        let mut wasi = WasiCtxBuilder::new();
        environment::open(&granted.environment, &mut wasi);
        stdio::open(&granted.component, &self.output, &mut wasi);
        let opened = Opened {
            http_client: http_client::open(&granted.http),
            sockets: sockets::open(&granted.sockets, &mut wasi),
            keyvalue: granted.keyvalue.clone(),
            sql: granted.sql.clone(),
            files: files::open(&granted.files),
            tls: tls::open(&granted.tls),
            config: config::open(&granted.config),
            log: logging::open(&granted.component, &self.output),
        };
        State::new(&mut wasi, Budget::new(granted.memory_limit), opened)
    }

    /// Makes the state of a command, which has the terminal and what is granted on the command
    /// line.
    ///
    /// # Errors
    /// When a folder can't be opened.
    pub fn open_command(&self, grants: &CommandGrants) -> Result<State, OpenFolderError> {
        let mut wasi = WasiCtxBuilder::new();
        command::open(grants, &mut wasi)?;
        let name = &grants.name;
        let opened = Opened {
            http_client: http_client::open(&http_client::grant(
                name,
                &grants.http,
                &self.backends.tls,
            )),
            sockets: sockets::open(&sockets::grant(name, &grants.sockets), &mut wasi),
            keyvalue: Labels::none(name),
            sql: Labels::none(name),
            files: files::open(&files::nothing()),
            tls: tls::open(&self.backends.tls),
            config: config::nothing(),
            log: logging::open(name, &self.output),
        };
        Ok(State::new(&mut wasi, Budget::new(grants.memory_limit.bytes()), opened))
    }
}

/// Adds every interface that Dhow serves to `linker`. All of them, whatever a component is
/// granted: the grant decides what a call may do, so that a missing grant is an error that the
/// interface itself knows.
///
/// # Errors
/// When an interface is added twice.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    http_client::link(linker)?;
    // From here on some of what is there is replaced by our own.
    linker.allow_shadowing(true);
    sockets::link(linker)?;
    files::link(linker)?;
    linker.allow_shadowing(false);
    keyvalue::link(linker)?;
    sql::link(linker)?;
    tls::link(linker)?;
    config::link(linker)?;
    logging::link(linker)
}

/// The state of one instance.
pub struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    http_client: http_client::Hooks,
    sockets: sockets::Opened,
    keyvalue: keyvalue::Granted,
    sql: sql::Granted,
    files: files::Opened,
    tls: tls::Opened,
    config: config::Granted,
    log: logging::Log,
    budget: Budget,
}

/// What was opened for an instance.
struct Opened {
    http_client: http_client::Hooks,
    sockets: sockets::Opened,
    keyvalue: keyvalue::Granted,
    sql: sql::Granted,
    files: files::Opened,
    tls: tls::Opened,
    config: config::Granted,
    log: logging::Log,
}

impl State {
    fn new(wasi: &mut WasiCtxBuilder, budget: Budget, opened: Opened) -> Self {
        let Opened { http_client, sockets, keyvalue, sql, files, tls, config, log } = opened;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        let wasi = wasi.max_random_size(MAX_RANDOM_BYTES).build();
        let mut state = Self {
            table,
            wasi,
            http,
            http_client,
            sockets,
            keyvalue,
            sql,
            files,
            tls,
            config,
            log,
            budget,
        };
        state.install_folders();
        state
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.http_client,
        }
    }
}

impl InstanceState for State {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}
