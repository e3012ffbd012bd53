//! The production server: many apps of many tenants, changed by the admin API while they run.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use dhow_api::{NewToken, Scope};
use dhow_capabilities::GuestOutput;
use dhow_engine::{Compiler, Instances, Options};
use dhow_host::{Host, Settings};
use dhow_manifest::{Listen, Name, Operator};
use dhow_telemetry::Meter;
use dhow_triggers::http::{Certificates, HttpTrigger};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    DEFAULT_TENANT, Drained,
    admin::{self, Shared},
    blobs::Blobs,
    control::{Control, Parts, StartError, UrlPattern},
    data::DataFolder,
    logs::Logs,
    readiness::Readiness,
    registry::Registry,
    reload::Reloader,
    telemetry,
    tenants::{Environment, Tenants},
    tokens::Tokens,
};

/// What a production server is made of.
pub struct Setup {
    /// Where everything is kept.
    pub data: PathBuf,
    /// What the operator says.
    pub operator: Operator,
    /// Gives variables of the environment, for the operator's configuration.
    pub environment: Environment,
    /// Where guests' lines go besides the log of their tenant.
    pub console: Arc<dyn GuestOutput>,
    /// Where instances come from.
    pub instances: Instances,
    /// What compiles components.
    pub compiler: Option<Compiler>,
    /// A token that may do everything, for whoever brings his own.
    pub admin_token: Option<String>,
}

/// Where a server listens where nothing is said.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_ADMIN: &str = "127.0.0.1:9090";

/// How long requests under way may take to end after the first signal.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// How long a server goes on accepting after the first signal, while it says that it is not ready:
/// as long as whoever sends requests takes to notice. On a developer's machine nobody does.
const DEFAULT_LINGER: Duration = Duration::ZERO;

/// A server that has its ports, and does not answer yet.
pub struct Production {
    host: Arc<Host>,
    control: Arc<Control>,
    listeners: Vec<Listening>,
    admin: Admin,
    readiness: Arc<Readiness>,
    first_token: Option<String>,
}

/// A port that was taken, and what stands before HTTP on it.
struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
}

impl Production {
    /// Takes the data folder and the ports.
    ///
    /// # Errors
    /// When one of them can't be had, or what is in the folder can't be read.
    pub async fn start(setup: Setup) -> Result<Self, StartError> {
        let Setup { data, operator, environment, console, instances, compiler, admin_token } =
            setup;
        let data = Arc::new(DataFolder::open(&data)?);
        let host = host(&data, instances, compiler)?;
        let logs = Logs::open(&data, console).map_err(StartError::Thread)?;
        let server = operator.server.clone();
        let listeners = listen(&server.listen)?;
        let admin_address = server.admin.or_else(|| DEFAULT_ADMIN.parse().ok());
        let (admin_listener, admin_address) = match admin_address {
            Some(address) => crate::bind(address)?,
            None => unreachable!("`{DEFAULT_ADMIN}` is an address"),
        };
        let registry = Registry::open(data.registry())?;
        let tokens = Tokens::read(&registry)?;
        let tenants =
            Tenants::new(host.clone(), data.clone(), environment, operator, logs.clone())?;
        let first_token = first_token(&registry, &tokens, admin_token)?;
        let parts = Parts {
            host: host.clone(),
            registry,
            blobs: Blobs::open(data.blobs()).map_err(StartError::Blobs)?,
            tenants,
            tokens,
            logs,
            urls: urls(&listeners),
        };
        let control = Control::new(parts, Handle::current())?;
        let readiness = Arc::<Readiness>::default();
        let shared = Shared { control: control.clone(), readiness: readiness.clone() };
        let admin = Admin::start(admin_listener, admin_address, shared)?;
        Ok(Self { host, control, listeners, admin, readiness, first_token })
    }

    /// Where it answers requests: the schemes of URLs, and addresses.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.listeners.iter().map(|listening| (listening.scheme(), listening.address))
    }

    /// Where the admin API is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// The number of apps.
    pub fn apps(&self) -> usize {
        self.control.apps().len()
    }

    /// The token that was made since there was none, which is to be shown this once.
    pub fn first_token(&self) -> Option<&str> {
        self.first_token.as_deref()
    }

    /// Has `meter` know its metrics.
    pub fn observe(&self, meter: &Meter) {
        telemetry::observe(&self.control, meter);
    }

    /// By which the configuration is changed while it runs.
    pub fn reloader(&self) -> Reloader {
        Reloader(self.control.clone())
    }

    /// Answers until `stop` completes; then says for a while that it is not ready, takes no more
    /// requests, and lets those under way come to their end.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Drained {
        let Self { host, control, listeners, admin, readiness, .. } = self;
        let (stop_sender, stopped) = watch::channel(false);
        let triggers = TaskTracker::new();
        let mut certificates = Vec::new();
        for listening in listeners {
            certificates.extend(listening.certificates.clone());
            let Listening { listener, certificates, .. } = listening;
            let settings = crate::settings();
            let trigger = HttpTrigger::new(host.clone(), listener, certificates, settings);
            triggers.spawn(trigger.serve(stopped.clone()));
        }
        triggers.close();
        readiness.set(true);
        tokio::select! {
            () = stop => {}
            () = crate::sweep(&host) => {}
            () = renew(&certificates) => {}
        }
        readiness.set(false);
        let server = control.tenants.operator().server.clone();
        sleep(server.linger.unwrap_or(DEFAULT_LINGER)).await;
        let _ = stop_sender.send(true);
        let drain = async {
            triggers.wait().await;
            host.drained().await;
        };
        let drained = match timeout(server.grace.unwrap_or(DEFAULT_GRACE), drain).await {
            Ok(()) => Drained::Completely,
            Err(_) => match host.invocations() {
                0 => Drained::Completely,
                count => Drained::Stopped(count),
            },
        };
        admin.stop();
        drained
    }
}

fn host(
    data: &DataFolder,
    instances: Instances,
    compiler: Option<Compiler>,
) -> Result<Arc<Host>, StartError> {
    let (code_cache, long_step) = (Some(data.code()), Options::LONG_STEP);
    let options = Options { code_cache, instances, compiler, long_step };
    // What anybody uploads is nobody's own work.
    let settings = Settings { trusts_builds: false, ..Settings::default() };
    Ok(crate::host(&options, settings)?)
}

/// Takes the ports, and reads the certificates of those that have any.
fn listen(wanted: &[Listen]) -> Result<Vec<Listening>, StartError> {
    let default = DEFAULT_LISTEN.parse().ok();
    let default = default.map(|address| Listen { address, certificates: Vec::new() });
    let all = if wanted.is_empty() { default.as_slice() } else { wanted };
    let mut listeners = Vec::new();
    for Listen { address, certificates } in all {
        let certificates = match &**certificates {
            [] => None,
            files => Some(Arc::new(Certificates::read(files)?)),
        };
        let (listener, address) = crate::bind(*address)?;
        listeners.push(Listening { listener, address, certificates });
    }
    Ok(listeners)
}

impl Listening {
    fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "https" } else { "http" }
    }
}

/// URLs are those of the first listener with TLS, or of the first.
fn urls(listeners: &[Listening]) -> UrlPattern {
    let secure = listeners.iter().find(|listening| listening.certificates.is_some());
    let shown = secure.or(listeners.first());
    UrlPattern {
        scheme: shown.map_or("http", Listening::scheme),
        port: shown.map_or(0, |listening| listening.address.port()),
    }
}

/// How often it is looked whether certificates were renewed.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);

/// Reads certificates again whose files have changed. Those that can't be used are said once, and the ones
/// before stay.
async fn renew(all: &[Arc<Certificates>]) {
    let mut refused = vec![None; all.len()];
    let mut looks = interval(RENEWAL_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for (certificates, refused) in all.iter().zip(&mut refused) {
            let certificates = certificates.clone();
            let look = move || {
                let has_changed = certificates.has_changed();
                has_changed.then(|| certificates.reload().map_err(|error| error.to_string()))
            };
            let error = match spawn_blocking(look).await {
                Ok(Some(Ok(()))) => {
                    tracing::info!("certificates were renewed");
                    None
                }
                Ok(Some(Err(error))) => Some(error),
                Ok(None) | Err(_) => continue,
            };
            if let Some(error) = error.as_ref().filter(|error| Some(*error) != refused.as_ref()) {
                tracing::error!("certificates are not renewed, those before stay: {error}");
            }
            *refused = error;
        }
    }
}

/// Makes the operator's own token known, or else makes the first one.
fn first_token(
    registry: &Registry,
    tokens: &Tokens,
    own: Option<String>,
) -> Result<Option<String>, StartError> {
    let token = |error: &dyn std::fmt::Display| StartError::Token(error.to_string());
    let tenant = Name::new(DEFAULT_TENANT).map_err(|error| token(&error))?;
    let new = NewToken {
        tenant: tenant.to_string(),
        scopes: vec![Scope::Admin],
        label: Some("the operator's".to_owned()),
    };
    if let Some(own) = own {
        if tokens.find(&own).is_none() {
            tokens.keep(registry, &tenant, new, &own)?;
        }
        return Ok(None);
    }
    if !tokens.is_empty() {
        return Ok(None);
    }
    Ok(Some(tokens.make(registry, &tenant, new).map_err(|error| token(&error))?.token))
}

/// The admin API, in a thread and a runtime of its own: it answers when guests keep all others busy.
struct Admin {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    fn start(
        listener: TcpListener,
        address: SocketAddr,
        shared: Shared,
    ) -> Result<Self, StartError> {
        let listener = listener.into_std().map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let serve = async move {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!("no admin API: {error}"),
            };
            if let Err(problem) = shared.control.watch_rollouts() {
                tracing::error!("rollouts are not watched: {problem}");
            }
            let sweep = shared.control.clone().sweep_often();
            let router = admin::router(shared);
            tokio::select! {
                () = sweep => {}
                result = async { axum::serve(listener, router).await } => {
                    if let Err(error) = result {
                        tracing::error!("the admin API has ended: {error}");
                    }
                }
                _ = stopped => {}
            }
        };
        let run = move || {
            runtime.block_on(serve);
            // A link that is under way must not keep the process.
            runtime.shutdown_background();
        };
        let builder = thread::Builder::new().name("admin".to_owned());
        let thread = builder.spawn(run).map_err(StartError::Thread)?;
        Ok(Self { address, stop, thread })
    }

    fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}
