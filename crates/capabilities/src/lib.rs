//! What a component can be granted, one file for each capability.
//!
//! A capability is three functions: `grant` holds what the manifest asks for against what the
//! host has, once for each revision; `link` adds the interfaces to a linker, once for each
//! engine; `open` makes the state of one instance and does no I/O.
//!
//! Capabilities know nothing of triggers, nor of the limits of tenants: memory and time are
//! enforced by the engine's budget.

mod backends;
mod blobstore;
mod command;
mod config;
mod egress;
mod environment;
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
pub use interfaces::{is_served, nearest_served};
pub use stdio::{GuestOutput, LogLevel, Stream};

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
    blobstore: blobstore::Granted,
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
    let imported =
        |prefixes: &[&str]| imports.iter().find(|import| starts_with_one(import, prefixes));
    let mut faults = Vec::new();
    for (is_granted, prefixes, grant, interface) in [
        (
            !grants.http.is_empty(),
            &["wasi:http/client@", "wasi:http/outgoing-handler@"][..],
            "grants.http",
            "wasi:http/client",
        ),
        (
            grants.sockets != Sockets::default(),
            &["wasi:sockets/"][..],
            "grants.sockets",
            "wasi:sockets",
        ),
        (!grants.keyvalue.is_empty(), &["wasi:keyvalue/"][..], "grants.keyvalue", "wasi:keyvalue"),
        (!grants.sql.is_empty(), &["dhow:sql/"][..], "grants.sql", "dhow:sql"),
        (!grants.blobstore.is_empty(), BLOBSTORES, "grants.blobstore", "dhow:blobstore"),
        (
            !grants.config.is_empty() || !grants.secrets.is_empty(),
            &["wasi:config/"][..],
            "grants.config or grants.secrets",
            "wasi:config",
        ),
    ] {
        if is_granted && imported(prefixes).is_none() {
            faults.push(GrantFault::Unused { grant, interface });
        }
    }
    for (is_granted, prefixes, line) in [
        (
            !grants.keyvalue.is_empty(),
            &["wasi:keyvalue/"][..],
            r#"grants.keyvalue = { default = "default" }"#,
        ),
        (!grants.sql.is_empty(), &["dhow:sql/"][..], r#"grants.sql = { default = "default" }"#),
        (!grants.blobstore.is_empty(), BLOBSTORES, r#"grants.blobstore = { default = "default" }"#),
    ] {
        if let Some(import) = imported(prefixes).filter(|_| !is_granted) {
            faults.push(GrantFault::Ungranted { import: import.clone(), line });
        }
    }
    faults
}

/// Our own, and the draft.
const BLOBSTORES: &[&str] = &["dhow:blobstore/", "wasi:blobstore/"];

fn starts_with_one(text: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| text.starts_with(prefix))
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
        let blobstore =
            kept(Labels::grant(name, &grants.blobstore, &self.backends.blobstore), &mut faults);
        let config = kept(
            config::grant(&grants.config, &grants.secrets, &self.backends.secrets),
            &mut faults,
        );
        match (environment, keyvalue, sql, blobstore, config) {
            (Some(environment), Some(keyvalue), Some(sql), Some(blobstore), Some(config))
                if faults.is_empty() =>
            {
                Ok(Granted {
                    component: name.clone(),
                    memory_limit: component.limits.memory.bytes(),
                    http: http_client::grant(name, &grants.http, &self.backends.tls),
                    environment,
                    sockets: sockets::grant(name, &grants.sockets),
                    keyvalue,
                    sql,
                    blobstore,
                    config,
                })
            }
            _ => Err(faults),
        }
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
            blobstore: granted.blobstore.clone(),
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
            blobstore: Labels::none(name),
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
    linker.allow_shadowing(false);
    keyvalue::link(linker)?;
    sql::link(linker)?;
    blobstore::link(linker)?;
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
    blobstore: blobstore::Granted,
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
    blobstore: blobstore::Granted,
    config: config::Granted,
    log: logging::Log,
}

impl State {
    fn new(wasi: &mut WasiCtxBuilder, budget: Budget, opened: Opened) -> Self {
        let Opened { http_client, sockets, keyvalue, sql, blobstore, config, log } = opened;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        let wasi = wasi.max_random_size(MAX_RANDOM_BYTES).build();
        Self {
            table,
            wasi,
            http,
            http_client,
            sockets,
            keyvalue,
            sql,
            blobstore,
            config,
            log,
            budget,
        }
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
