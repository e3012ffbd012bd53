//! The composition root: a host, listeners, and how they end; and for production the admin API and all
//! that it changes.

mod admin;
mod blobs;
mod clock;
mod control;
mod data;
mod deploy;
mod descriptors;
mod logs;
mod metrics;
mod production;
mod readiness;
mod registry;
mod reload;
mod status;
mod stored;
mod sweep;
mod telemetry;
mod tenants;
mod tokens;
mod traffic;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use dhow_capabilities::Capabilities;
use dhow_engine::{Engine, EngineError};
use dhow_host::{Host, LinkedApp, Revision, Site, Tenant, Traffic};
use dhow_manifest::{Ceilings, Name};
use dhow_triggers::http::{HttpTrigger, Settings};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    time::{MissedTickBehavior, timeout},
};

pub use dhow_engine::{CompileLimits, Compiler, Instances, Options, compile_as_child};
pub use dhow_host::Settings as HostSettings;

pub use admin::openapi;
pub use control::StartError;
pub use data::DataError;
pub use descriptors::make_room_for_descriptors;
pub use production::{Production, Setup};
pub use registry::RegistryError;
pub use reload::Reloader;
pub use tenants::TenantError;

/// Makes the host of this process.
///
/// # Errors
/// When the engine does not run on this machine.
pub fn host(options: &Options, settings: HostSettings) -> Result<Arc<Host>, EngineError> {
    let engine = Engine::new(options)?;
    Ok(Arc::new(Host::new(engine, settings)))
}

/// The one tenant of a process that serves its own user's app.
///
/// # Panics
/// Never: no instance is kept for it.
pub fn only_tenant(host: &Host, capabilities: Capabilities, ceilings: Ceilings) -> Arc<Tenant> {
    let tenant = Name::new(DEFAULT_TENANT)
        .ok()
        .and_then(|name| host.tenant(name, capabilities, ceilings, None).ok());
    let Some(tenant) = tenant else { unreachable!("`{DEFAULT_TENANT}` is a name") };
    tenant
}

/// Makes `app` the one that answers, whatever the host of a request.
pub fn serve_everywhere(host: &Host, app: LinkedApp) {
    let tenant = app.tenant().clone();
    let site = Site::new(tenant, app.app().name().clone());
    let revision = Revision::linked(1, host.start(app), None);
    site.set(BTreeMap::from([(1, revision.clone())]), Traffic::all(revision));
    host.table().set_elsewhere(site);
}

/// Whose apps are where nobody says otherwise.
pub const DEFAULT_TENANT: &str = "default";

/// A server that has its port, and does not answer yet.
pub struct Server {
    host: Arc<Host>,
    listener: TcpListener,
    address: SocketAddr,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything that was under way came to its end.
    Completely,
    /// So many invocations were stopped when the time for it was over.
    Stopped(usize),
}

impl Server {
    /// Takes the port at `address`.
    ///
    /// # Errors
    /// When the port is taken, or not for this user.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn bind(host: Arc<Host>, address: SocketAddr) -> Result<Self, BindError> {
        let (listener, address) = bind(address)?;
        Ok(Self { host, listener, address })
    }

    /// The address with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` completes, then takes no more requests and lets those under way come
    /// to their end within `grace`.
    pub async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) -> Drained {
        let (stop_sender, stop_receiver) = watch::channel(false);
        let trigger = HttpTrigger::new(self.host.clone(), self.listener, None, settings());
        let mut serving = std::pin::pin!(trigger.serve(stop_receiver));
        let ended = tokio::select! {
            () = stop => false,
            () = &mut serving => true,
            () = sweep(&self.host) => true,
        };
        let _ = stop_sender.send(true);
        let drain = async {
            if !ended {
                serving.await;
            }
            self.host.drained().await;
        };
        match timeout(grace, drain).await {
            Ok(()) => Drained::Completely,
            // A client that does not close its connection is no request.
            Err(_) => match self.host.invocations() {
                0 => Drained::Completely,
                count => Drained::Stopped(count),
            },
        }
    }
}

/// Connections that the kernel holds until they are accepted: as many as it can be had to hold (Linux:
/// `net.core.somaxconn`). It drops what comes beyond, and a client tries again only after a second.
const BACKLOG: u32 = 1 << 16;

/// Listens on `address`, and says on which port.
fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // What has ended just now does not keep the port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|source| BindError { address, source })
}

/// How often what nobody uses is let go of.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The code of a component that was not called for as long is let go of. Loading it again takes
/// less than a millisecond, holding it some hundred KiB.
const UNUSED: Duration = Duration::from_secs(5 * 60);

async fn sweep(host: &Host) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        host.sweep(UNUSED);
    }
}

/// As many connections as there are descriptors for, of which half are left for what guests and
/// the host open themselves.
fn settings() -> Settings {
    let descriptors = descriptors::limit_of_descriptors();
    let settings = Settings::default();
    Settings { max_connections: settings.max_connections.min(descriptors / 2).max(1), ..settings }
}

/// The port can't be had.
#[derive(Debug, Error)]
#[error("can't listen on {address}: {source}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}
