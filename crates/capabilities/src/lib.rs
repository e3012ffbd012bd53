//! What a component can be granted, one file for each capability.
//!
//! A capability is three functions: `grant` holds what the manifest asks for against what the
//! host has, once for each revision; `link` adds the interfaces to a linker, once for each
//! engine; `open` makes the state of one instance and does no I/O.
//!
//! Capabilities know nothing of triggers, nor of the limits of tenants: memory and time are
//! enforced by the engine's budget.

mod audit;
mod backends;
mod blobstore;
mod clocks;
mod command;
mod config;
mod confined;
mod cork;
mod egress;
mod environment;
mod fault;
mod files;
mod http_client;
mod interfaces;
mod keyvalue;
mod linking;
mod logging;
mod neighbours;
mod operate;
mod parts;
mod patience;
mod reading;
mod redis;
mod secrets;
mod sockets;
mod sql;
mod stdio;
mod tls;
mod wasi;

use std::{path::PathBuf, sync::Arc};

use dhow_engine::{Account, Budget};
use dhow_manifest::{Component, Endpoint, Grants, MemorySize, Name, Sockets};
use thiserror::Error;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::WasiHttpCtx;

use audit::Audit;
use backends::Labels;
use egress::Egress;
use fault::unmatched;
use linking::Linking;
use parts::Part;

pub use audit::{Denials, Denied};
pub use backends::{BackendError, Backends, UnboundBackend, expand_in};
pub use clocks::VirtualTime;
pub use command::{CommandGrants, FolderGrant, OpenFolderError};
pub use config::UnknownSecret;
pub use confined::Beyond;
pub use cork::Corked;
pub use egress::BeyondEgress;
pub use environment::MissingVariable;
pub use fault::GrantFault;
pub use files::UnknownFolder;
pub use interfaces::{is_own, is_served, nearest_served, sharing};
pub use linking::OwnImport;
pub use neighbours::{Calling, Depth, Neighbourhood, Neighbours};
pub use parts::{Parts, State};
pub use secrets::{SecretError, SecretFolder};
pub use stdio::{Author, GuestOutput, LogLevel, Stream};
pub use tls::UnknownAuthority;
/// What requests and responses among components are made of.
pub use wasmtime_wasi_http::{Error as HttpError, WasiBody};

/// What all instances of the process share.
pub struct Capabilities {
    output: Arc<dyn GuestOutput>,
    host_environment: Box<HostEnvironment>,
    backends: Backends,
    denials: Arc<Denials>,
    time: Option<VirtualTime>,
}

/// Gives the value of a variable of the environment that Dhow itself runs in.
type HostEnvironment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What one component of a revision may do: the manifest's grants, held against the host.
#[derive(Clone)]
pub struct Granted {
    author: Arc<Author>,
    memory_limit: u64,
    http: http_client::Granted,
    environment: environment::Granted,
    sockets: sockets::Granted,
    keyvalue: keyvalue::Granted,
    sql: sql::Granted,
    files: files::Granted,
    tls: tls::Granted,
    /// Whose `grants.ca` counts for `wasi:tls`.
    imports_tls: bool,
    ca: Option<PathBuf>,
    blobstore: blobstore::Granted,
    redis: redis::Granted,
    config: config::Granted,
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
        Self {
            output,
            host_environment: Box::new(host_environment),
            backends,
            denials: Arc::default(),
            time: None,
        }
    }

    /// Those of a tenant among others, who stands in the records of what was denied.
    pub fn of_tenant(mut self, tenant: &Name) -> Self {
        self.denials = Arc::new(Denials::new(Some(tenant.clone())));
        self
    }

    /// Has all guests see `time` in place of the system's.
    pub fn at(mut self, time: Option<VirtualTime>) -> Self {
        self.time = time;
        self
    }

    /// Bounds how many connections all components open for each second, but for those to backends.
    pub fn limit_connections(&self, per_second: u32) {
        self.backends.egress.limit_connections(per_second);
    }

    /// What was denied so far.
    pub fn denials(&self) -> Arc<Denials> {
        self.denials.clone()
    }

    /// Holds what the manifest of `app` grants `component` against what the host has, and against what the
    /// component imports. Whom it calls by name is in `neighbourhood`.
    ///
    /// # Errors
    /// With every grant that can't be given or that nothing is done with, and every import that
    /// would need one.
    pub fn grant(
        &self,
        app: &Name,
        name: &Name,
        component: &Component,
        imports: &[String],
        neighbourhood: &Neighbourhood,
    ) -> Result<Granted, Vec<GrantFault>> {
        let (grants, backends) = (&component.grants, &self.backends);
        let mut faults = unmatched(grants, imports);
        if backends.is_confined {
            let beyond = confined::beyond(grants);
            if !beyond.is_empty() {
                // Nothing of it is so much as looked at.
                faults.extend(beyond.into_iter().map(GrantFault::from));
                return Err(faults);
            }
        }
        let ca = grants.ca.as_deref().map(|ca| backends.volumes.path_of(ca));
        let tls = tls::grant(ca.as_deref(), &backends.tls);
        let mut granted = self.nothing(app, name, component.limits.memory);
        keep(&mut granted.tls, tls, &mut faults);
        granted.imports_tls = imports.iter().any(|import| import.starts_with("wasi:tls/"));
        granted.ca = ca;
        let egress = &backends.egress;
        faults.extend(beyond(egress, grants).map(GrantFault::from));
        let audit = &Audit::new(app, name, &self.denials);
        let calls = (&grants.calls[..], neighbourhood.clone());
        granted.http = http_client::grant(audit, &grants.http, calls, &granted.tls, egress);
        granted.sockets = sockets::grant(audit, &grants.sockets, egress);
        let environment = environment::grant(&grants.env, &self.host_environment);
        keep(&mut granted.environment, environment, &mut faults);
        let keyvalue = Labels::grant(audit, &grants.keyvalue, &backends.keyvalue);
        keep(&mut granted.keyvalue, keyvalue, &mut faults);
        let sql = Labels::grant(audit, &grants.sql, &backends.sql);
        keep(&mut granted.sql, sql, &mut faults);
        let blobstore = Labels::grant(audit, &grants.blobstore, &backends.blobstore);
        keep(&mut granted.blobstore, blobstore, &mut faults);
        let redis = Labels::grant(audit, &grants.redis, &backends.redis);
        keep(&mut granted.redis, redis, &mut faults);
        let files = files::grant(audit, &grants.files, &backends.volumes);
        keep(&mut granted.files, files, &mut faults);
        let config = config::grant(&grants.config, &grants.secrets, &backends.secrets);
        keep(&mut granted.config, config, &mut faults);
        if faults.is_empty() { Ok(granted) } else { Err(faults) }
    }

    /// What a component has that is granted nothing.
    fn nothing(&self, app: &Name, name: &Name, memory: MemorySize) -> Granted {
        let (tls, egress) = (self.backends.tls.clone(), &self.backends.egress);
        let audit = &Audit::new(app, name, &self.denials);
        Granted {
            author: Arc::new(Author { app: app.clone(), component: name.clone() }),
            memory_limit: memory.bytes(),
            http: http_client::grant(audit, &[], nobody(), &tls, egress),
            environment: environment::nothing(),
            sockets: sockets::grant(audit, &Sockets::default(), egress),
            keyvalue: Labels::none(audit),
            sql: Labels::none(audit),
            blobstore: Labels::none(audit),
            redis: Labels::none(audit),
            files: files::nothing(),
            config: config::nothing(),
            tls,
            imports_tls: false,
            ca: None,
        }
    }

    /// Makes the state of one instance on `account`, of which each part has what it is granted.
    pub fn open(&self, granted: &Parts<Granted>, account: &Arc<Account>) -> State {
        let parts = granted.map(|granted| {
            let mut wasi = WasiCtxBuilder::new();
            stdio::open(&granted.author, &self.output, &mut wasi);
            self.part(granted, wasi)
        });
        self.state(granted, parts, account)
    }

    /// Makes the state of a command, which has the terminal and what is granted on the command
    /// line.
    ///
    /// # Errors
    /// When a folder can't be opened.
    pub fn open_command(
        &self,
        grants: &CommandGrants,
        account: &Arc<Account>,
    ) -> Result<State, OpenFolderError> {
        let name = &grants.name;
        let mut granted = self.nothing(name, name, grants.memory_limit);
        let (egress, audit) = (&self.backends.egress, &Audit::new(name, name, &self.denials));
        granted.http = http_client::grant(audit, &grants.http, nobody(), &granted.tls, egress);
        granted.sockets = sockets::grant(audit, &grants.sockets, egress);
        let mut wasi = WasiCtxBuilder::new();
        command::open(grants, &mut wasi)?;
        let part = self.part(&granted, wasi);
        Ok(self.state(&Parts::one(granted), Parts::one(part), account))
    }

    fn part(&self, granted: &Granted, mut wasi: WasiCtxBuilder) -> Part {
        environment::open(&granted.environment, &mut wasi);
        clocks::open(self.time.as_ref(), &mut wasi);
        let sockets = sockets::open(&granted.sockets, &mut wasi);
        let mut part = Part {
            wasi: wasi.max_random_size(MAX_RANDOM_BYTES).build(),
            http_client: http_client::open(&granted.http),
            sockets,
            keyvalue: keyvalue::open(&granted.keyvalue),
            sql: granted.sql.clone(),
            blobstore: granted.blobstore.clone(),
            redis: granted.redis.clone(),
            files: files::open(&granted.files),
            config: config::open(&granted.config),
            log: logging::open(&granted.author, &self.output),
        };
        part.install_folders();
        part
    }

    /// What `parts` share: memory, which wasmtime does not count for each, is what all of them may have.
    fn state(&self, granted: &Parts<Granted>, parts: Parts<Part>, account: &Arc<Account>) -> State {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        let memory = granted.iter().map(|granted| granted.memory_limit);
        let trusting = granted.iter().find(|granted| granted.imports_tls);
        State {
            table,
            http,
            tls: tls::open(&trusting.unwrap_or(granted.first()).tls),
            budget: Budget::new(memory.fold(0, u64::saturating_add), account.clone()),
            time: self.time.clone(),
            parts,
        }
    }
}

/// Nobody to call by name.
fn nobody() -> http_client::Calls<'static> {
    (&[], Neighbourhood::default())
}

/// What the parts of an entry may do, in their order.
///
/// # Errors
/// When they would have to trust different authorities. `None` where there is no part.
pub fn join(parts: Vec<Granted>) -> Result<Option<Parts<Granted>>, UnlikeAuthorities> {
    let mut trusting = parts.iter().filter(|granted| granted.imports_tls);
    if let Some(first) = trusting.next()
        && let Some(other) = trusting.find(|other| other.ca != first.ca)
    {
        let (one, other) = (first.author.component.clone(), other.author.component.clone());
        return Err(UnlikeAuthorities { one, other });
    }
    Ok(Parts::of(parts))
}

/// Two components that are joined use `wasi:tls`, of which there is one for both.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{one}` and `{other}` use wasi:tls in one instance, and have different `grants.ca`")]
pub struct UnlikeAuthorities {
    one: Name,
    other: Name,
}

/// What of `grants` is more than the operator lets anybody reach.
fn beyond(egress: &Egress, grants: &Grants) -> impl Iterator<Item = BeyondEgress> {
    let Sockets { tcp, udp, .. } = &grants.sockets;
    let origins = grants.http.iter().map(Endpoint::from);
    let endpoints = origins.chain(tcp.iter().chain(udp).cloned());
    endpoints.filter_map(|endpoint| egress.check(&endpoint).err())
}

/// Keeps what was granted; what is wrong with it goes to `faults`.
fn keep<T, F>(kept: &mut T, granted: Result<T, Vec<F>>, faults: &mut Vec<GrantFault>)
where
    GrantFault: From<F>,
{
    match granted {
        Ok(granted) => *kept = granted,
        Err(found) => faults.extend(found.into_iter().map(GrantFault::from)),
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
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    tls::link(linker)?;
    linker.allow_shadowing(true);
    clocks::link(linker)?;
    linker.allow_shadowing(false);
    link_own(&mut Linking::interfaces(linker))
}

/// Adds what each part of several that are joined has to itself, by the names that it has there.
///
/// # Errors
/// When there are more than [`MAX_PARTS`], or a name is added twice.
pub fn link_parts(
    linker: &mut Linker<State>,
    parts: usize,
    imports: &[OwnImport],
) -> wasmtime::Result<()> {
    for part in 0..parts {
        let mut to = Linking::part(linker, part, imports)?;
        wasi::link(&mut to)?;
        link_own(&mut to)?;
    }
    Ok(())
}

fn link_own(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    // Some of what is there is replaced by our own.
    to.linker().allow_shadowing(true);
    sockets::link(to)?;
    files::link(to)?;
    to.linker().allow_shadowing(false);
    keyvalue::link(to)?;
    sql::link(to)?;
    blobstore::link(to)?;
    redis::link(to)?;
    config::link(to)?;
    logging::link(to)
}
