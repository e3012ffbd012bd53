//! What a component can be granted, one file for each capability.
//!
//! A capability is three functions: `grant` holds what the manifest asks for against what the
//! host has, once for each revision; `link` adds the interfaces to a linker, once for each
//! engine; `open` makes the state of one instance and does no I/O.
//!
//! Capabilities know nothing of triggers, nor of the limits of tenants: memory and time are
//! enforced by the engine's budget.

mod command;
mod egress;
mod environment;
mod http_client;
mod interfaces;
mod sockets;
mod stdio;

use std::sync::Arc;

use dhow_engine::{Budget, InstanceState};
use dhow_manifest::{Component, Name};
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use http_client::Tls;

pub use command::{CommandGrants, FolderGrant, OpenFolderError};
pub use environment::MissingVariable;
pub use interfaces::{is_served, nearest_served};
pub use stdio::{GuestOutput, Stream};

/// What all instances of the process share.
pub struct Capabilities {
    tls: Arc<Tls>,
    output: Arc<dyn GuestOutput>,
    host_environment: Box<HostEnvironment>,
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
    /// `host_environment`.
    pub fn new(
        output: Arc<dyn GuestOutput>,
        host_environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { tls: Arc::new(Tls::default()), output, host_environment: Box::new(host_environment) }
    }

    /// Holds what the manifest grants `component` against what the host has.
    ///
    /// # Errors
    /// With every grant that can't be given.
    pub fn grant(
        &self,
        name: &Name,
        component: &Component,
    ) -> Result<Granted, Vec<MissingVariable>> {
        Ok(Granted {
            component: name.clone(),
            memory_limit: component.limits.memory.bytes(),
            http: http_client::grant(name, &component.grants.http, &self.tls),
            environment: environment::grant(&component.grants.env, &self.host_environment)?,
            sockets: sockets::grant(name, &component.grants.sockets),
        })
    }

    /// Makes the state of one instance.
    pub fn open(&self, granted: &Granted) -> State {
        let mut wasi = WasiCtxBuilder::new();
        environment::open(&granted.environment, &mut wasi);
        stdio::open(&granted.component, &self.output, &mut wasi);
        let sockets = sockets::open(&granted.sockets, &mut wasi);
        let http = http_client::open(&granted.http);
        State::new(&mut wasi, Budget::new(granted.memory_limit), http, sockets)
    }

    /// Makes the state of a command, which has the terminal and what is granted on the command
    /// line.
    ///
    /// # Errors
    /// When a folder can't be opened.
    pub fn open_command(&self, grants: &CommandGrants) -> Result<State, OpenFolderError> {
        let mut wasi = WasiCtxBuilder::new();
        command::open(grants, &mut wasi)?;
        let sockets = sockets::grant(&grants.name, &grants.sockets);
        let sockets = sockets::open(&sockets, &mut wasi);
        let http = http_client::grant(&grants.name, &grants.http, &self.tls);
        let budget = Budget::new(grants.memory_limit.bytes());
        Ok(State::new(&mut wasi, budget, http_client::open(&http), sockets))
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
    sockets::link(linker)
}

/// The state of one instance.
pub struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    http_client: http_client::Hooks,
    sockets: sockets::Opened,
    budget: Budget,
}

impl State {
    fn new(
        wasi: &mut WasiCtxBuilder,
        budget: Budget,
        http_client: http_client::Hooks,
        sockets: sockets::Opened,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        Self {
            table,
            wasi: wasi.max_random_size(MAX_RANDOM_BYTES).build(),
            http,
            http_client,
            sockets,
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
