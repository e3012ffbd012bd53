//! Which apps there are, and which of their revisions answer: the registry and the live table, which
//! are changed together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Instant, SystemTime},
};

use dhow_api::{Code, Detail, Problem};
use dhow_host::{
    Host, LinkFaults, LinkedApp, LiveApp, Revision, Site, Source, Sticky, Tenant, Traffic,
    preview_host,
};
use dhow_manifest::{App, Faults, Name, Operator};
use dhow_package::{Artifact, Digest};
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
};
use tokio_util::task::TaskTracker;

use crate::{
    blobs::Blobs,
    logs::Logs,
    registry::{AppKey, AppRecord, Registry, RegistryError, RevisionRecord},
    stored::Uploading,
    tenants::{TenantError, Tenants},
    tokens::Tokens,
};

/// The control plane of a server.
pub(crate) struct Control {
    pub(crate) host: Arc<Host>,
    pub(crate) registry: Registry,
    pub(crate) blobs: Blobs,
    pub(crate) tenants: Tenants,
    pub(crate) tokens: Tokens,
    pub(crate) logs: Arc<Logs>,
    /// Where requests are answered.
    pub(crate) data_plane: Handle,
    /// What goes on without anybody who waits for it.
    pub(crate) tasks: TaskTracker,
    pub(crate) started: Instant,
    /// `http://{}:8080`, for the name of a host.
    pub(crate) urls: UrlPattern,
    apps: RwLock<HashMap<AppKey, Arc<KnownApp>>>,
    pub(crate) uploading: Uploading,
    this: Weak<Self>,
}

/// How the URL of a host is written.
#[derive(Debug, Clone)]
pub(crate) struct UrlPattern {
    pub(crate) scheme: &'static str,
    pub(crate) port: u16,
}

impl UrlPattern {
    fn of(&self, host: &str) -> String {
        let Self { scheme, port } = self;
        match (*scheme, *port) {
            ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
            _ => format!("{scheme}://{host}:{port}"),
        }
    }
}

/// What a [`Control`] is made of.
pub(crate) struct Parts {
    pub(crate) host: Arc<Host>,
    pub(crate) registry: Registry,
    pub(crate) blobs: Blobs,
    pub(crate) tenants: Tenants,
    pub(crate) tokens: Tokens,
    pub(crate) logs: Arc<Logs>,
    pub(crate) urls: UrlPattern,
}

/// An app of the registry.
pub(crate) struct KnownApp {
    pub(crate) key: AppKey,
    pub(crate) site: Arc<Site>,
    /// Held by the one who changes it.
    changing: Arc<AsyncMutex<()>>,
}

/// The right to change an app, and what it is now.
pub(crate) struct Changing {
    pub(crate) app: Arc<KnownApp>,
    pub(crate) record: AppRecord,
    _guard: OwnedMutexGuard<()>,
}

impl Control {
    /// The control plane of all apps in the registry. They are linked when they are called.
    pub(crate) fn new(parts: Parts, data_plane: Handle) -> Result<Arc<Self>, StartError> {
        let Parts { host, registry, blobs, tenants, tokens, logs, urls } = parts;
        let control = Arc::new_cyclic(|this| Self {
            host,
            registry,
            blobs,
            tenants,
            tokens,
            logs,
            urls,
            data_plane,
            tasks: TaskTracker::new(),
            started: Instant::now(),
            apps: RwLock::default(),
            uploading: Uploading::default(),
            this: this.clone(),
        });
        // What was left unfinished is nobody's any more.
        control.sweep(SystemTime::now())?;
        let mut apps = HashMap::new();
        for (key, record, numbers) in control.registry.apps()? {
            let app = control.make(&key)?;
            control.show(&app, &record, &numbers, None);
            apps.insert(key, app);
        }
        *control.apps.write().unwrap_or_else(PoisonError::into_inner) = apps;
        control.show_hosts();
        Ok(control)
    }

    /// Has all apps answer at their hosts, and at no others.
    pub(crate) fn show_hosts(&self) {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        self.host.table().update(|hosts| {
            hosts.clear();
            for app in apps.values().filter(|app| !app.site.revisions().is_empty()) {
                hosts.extend(self.hosts_of(&app.key).map(|host| (host, app.site.clone())));
            }
        });
    }

    fn make(&self, key: &AppKey) -> Result<Arc<KnownApp>, TenantError> {
        let site = Site::new(self.tenants.get(&key.0)?, key.1.clone());
        Ok(Arc::new(KnownApp { key: key.clone(), site, changing: Arc::default() }))
    }

    /// The app `key`.
    pub(crate) fn app(&self, key: &AppKey) -> Option<Arc<KnownApp>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// All apps, of all tenants.
    pub(crate) fn apps(&self) -> Vec<Arc<KnownApp>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many apps `tenant` has.
    pub(crate) fn count_apps(&self, tenant: &Name) -> usize {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        apps.keys().filter(|(owner, _)| owner == tenant).count()
    }

    /// The app `key`, to change it; one that is not there is made, and is in no table yet.
    pub(crate) fn change(&self, key: &AppKey) -> Result<Changing, Problem> {
        let app = {
            let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
            match apps.get(key) {
                Some(app) => app.clone(),
                None => {
                    let app = self.make(key).map_err(|error| internal(&error))?;
                    apps.insert(key.clone(), app.clone());
                    app
                }
            }
        };
        let guard = app.changing.clone().try_lock_owned().map_err(|_| {
            let message = format!("`{}` is being changed by somebody else", key.1);
            Problem::new(Code::Conflict, message).help("look at what they did, and try again")
        })?;
        let record = self.registry.app(key)?.unwrap_or_default();
        Ok(Changing { app, record, _guard: guard })
    }

    /// The app `key`, to change it; it must be there.
    pub(crate) fn change_existing(&self, key: &AppKey) -> Result<Changing, Problem> {
        self.app(key).ok_or_else(|| no_app(&key.1))?;
        let changing = self.change(key)?;
        if changing.record.newest == 0 {
            self.forget_unmade(&changing);
            return Err(no_app(&key.1));
        }
        Ok(changing)
    }

    /// Forgets an app that was to be made and was not.
    pub(crate) fn forget_unmade(&self, changing: &Changing) {
        if changing.record.newest == 0 {
            self.apps.write().unwrap_or_else(PoisonError::into_inner).remove(&changing.app.key);
        }
    }

    /// Writes what an app is from now on, and then lets it answer so. `new` is a revision that is new.
    pub(crate) fn commit(
        &self,
        changing: &mut Changing,
        record: AppRecord,
        new: Option<(u32, &RevisionRecord, Arc<LiveApp>)>,
    ) -> Result<(), Problem> {
        let Changing { app, record: current, .. } = changing;
        let mut numbers: BTreeSet<u32> = app.site.revisions().keys().copied().collect();
        numbers.extend(new.as_ref().map(|(number, ..)| *number));
        let gone = superfluous(&numbers, &record);
        let written = new.as_ref().map(|(number, record, _)| (*number, *record));
        self.registry.save(&app.key, &record, written, &gone)?;
        let kept = numbers.difference(&gone).copied().collect();
        self.show(app, &record, &kept, new.map(|(number, _, live)| (number, live)));
        if current.newest == 0 {
            let (host, site) = (self.hosts_of(&app.key), &app.site);
            self.host.table().update(|hosts| hosts.extend(host.map(|host| (host, site.clone()))));
        }
        *current = record;
        Ok(())
    }

    /// Removes an app.
    pub(crate) fn remove(&self, changing: &Changing) -> Result<(), Problem> {
        let key = &changing.app.key;
        self.registry.remove(key)?;
        // First: who shows the hosts of all apps again shows those that are known.
        self.apps.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.host.table().update(|hosts| {
            hosts.retain(|_, site| !Arc::ptr_eq(site, &changing.app.site));
        });
        Ok(())
    }

    /// Makes the site of `app` what `record` says.
    fn show(
        &self,
        app: &KnownApp,
        record: &AppRecord,
        numbers: &BTreeSet<u32>,
        new: Option<(u32, Arc<LiveApp>)>,
    ) {
        let known = app.site.revisions();
        let source = |number| -> Box<dyn Source> {
            Box::new(Stored { control: self.this.clone(), key: app.key.clone(), number })
        };
        let mut revisions = BTreeMap::new();
        for number in numbers {
            let revision = match (known.get(number), &new) {
                (Some(revision), _) => revision.clone(),
                (None, Some((new, live))) if new == number => {
                    Revision::linked(*number, live.clone(), Some(source(*number)))
                }
                (None, _) => Revision::unlinked(*number, source(*number)),
            };
            revisions.insert(*number, revision);
        }
        let shares = record
            .traffic
            .iter()
            .filter_map(|(number, percent)| Some((*percent, revisions.get(number)?.clone())));
        let sticky = record.sticky.as_ref().and_then(sticky);
        // None has any before the first that is to have some.
        let traffic = Traffic::shared(shares, sticky).unwrap_or_default();
        app.site.set(revisions, traffic);
    }

    /// Links a revision as it stands in the registry.
    pub(crate) fn link(
        &self,
        tenant: &Arc<Tenant>,
        record: &RevisionRecord,
    ) -> Result<LinkedApp, Problem> {
        let app = App::parse(MANIFEST, &record.manifest).map_err(|faults| manifest(&faults))?;
        let artifacts = self.artifacts(&app, record)?;
        self.host.link(tenant, app, &artifacts).map_err(|faults| unlinkable(&faults))
    }

    fn artifacts(
        &self,
        app: &App,
        record: &RevisionRecord,
    ) -> Result<BTreeMap<Name, Artifact>, Problem> {
        let mut artifacts = BTreeMap::new();
        for name in app.components().keys() {
            let digest = record.components.get(name.as_str());
            let Some(digest) = digest.and_then(|record| Digest::parse(&record.digest)) else {
                let message = format!("component `{name}` has no digest");
                return Err(Problem::new(Code::Invalid, message));
            };
            let artifact = Artifact::read(&self.blobs.path(&digest)).map_err(|error| {
                let message = format!("component `{name}` is {}", error.reason);
                let problem = Problem::new(Code::Unlinkable, message);
                match error.reason.help(&PathBuf::from(format!("{name}.wasm"))) {
                    Some(help) => problem.help(help),
                    None => problem,
                }
            })?;
            if artifact.digest() != digest {
                return Err(internal(&format!("the file of component `{name}` was damaged")));
            }
            artifacts.insert(name.clone(), artifact);
        }
        Ok(artifacts)
    }

    /// Where the app `key` answers.
    pub(crate) fn stable_host(&self, (tenant, app): &AppKey) -> String {
        let domain = &self.tenants.operator().server.domain;
        if tenant.as_str() == Operator::DEFAULT_TENANT {
            format!("{app}.{domain}")
        } else {
            format!("{app}.{tenant}.{domain}")
        }
    }

    fn hosts_of(&self, key: &AppKey) -> impl Iterator<Item = Box<str>> + use<> {
        let operator = self.tenants.operator();
        let further = operator.tenants.get(&key.0).map(|settings| &settings.hosts);
        let further = further.into_iter().flatten().filter(|(_, app)| **app == key.1);
        let mut hosts: Vec<Box<str>> = further.map(|(host, _)| host.as_str().into()).collect();
        hosts.push(self.stable_host(key).into());
        hosts.into_iter()
    }

    /// The URL of the app `key`.
    pub(crate) fn url(&self, key: &AppKey) -> String {
        self.urls.of(&self.stable_host(key))
    }

    /// The URL of one revision of it.
    pub(crate) fn preview_url(&self, key: &AppKey, number: u32) -> String {
        self.urls.of(&preview_host(number, &self.stable_host(key)))
    }
}

/// What a manifest is called that came by the API.
pub(crate) const MANIFEST: &str = "dhow.toml";

/// The revisions that are kept besides those that have traffic, or had all of it.
const KEPT: usize = 20;

/// Those of `numbers` that are not kept.
fn superfluous(numbers: &BTreeSet<u32>, record: &AppRecord) -> BTreeSet<u32> {
    let is_needed = |number: &u32| {
        record.traffic.contains_key(number)
            || record.whole.contains(number)
            || record.rollout.as_ref().is_some_and(|rollout| rollout.before.contains_key(number))
    };
    numbers.iter().rev().skip(KEPT).filter(|number| !is_needed(number)).copied().collect()
}

fn sticky(sticky: &dhow_api::Sticky) -> Option<Sticky> {
    Some(match sticky {
        dhow_api::Sticky::Header(name) => Sticky::Header(name.parse().ok()?),
        dhow_api::Sticky::Cookie(name) => Sticky::Cookie(name.clone()),
    })
}

/// A revision in the registry.
struct Stored {
    control: Weak<Control>,
    key: AppKey,
    number: u32,
}

impl Source for Stored {
    fn link(&self) -> Option<LinkedApp> {
        let control = self.control.upgrade()?;
        let (tenant, app) = &self.key;
        let linked =
            control.registry.revision(&self.key, self.number).map_err(Problem::from).and_then(
                |record| {
                    let record = record.ok_or_else(|| no_revision(app, self.number))?;
                    let tenant = control.tenants.get(tenant).map_err(|error| internal(&error))?;
                    control.link(&tenant, &record)
                },
            );
        linked
            .inspect_err(|problem| {
                let details: Vec<_> =
                    problem.details.iter().map(|detail| &detail.message).collect();
                tracing::error!(%tenant, %app, revision = self.number, ?details, "{problem}");
            })
            .ok()
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is its message")]
pub enum StartError {
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the folder of components: {0}")]
    Blobs(io::Error),
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error(transparent)]
    Engine(#[from] dhow_engine::EngineError),
    #[error(transparent)]
    Bind(#[from] crate::BindError),
    #[error(transparent)]
    Certificates(#[from] dhow_triggers::http::CertificateError),
    #[error("{0}")]
    Token(String),
    #[error("the thread of the admin API does not start: {0}")]
    Thread(io::Error),
}

pub(crate) fn no_app(app: &Name) -> Problem {
    Problem::new(Code::NotFound, format!("no app is called `{app}`"))
}

pub(crate) fn no_revision(app: &Name, number: u32) -> Problem {
    Problem::new(Code::NotFound, format!("`{app}` has no revision r{number}, or not any more"))
}

/// What is the server's own fault: its reason is in the log.
pub(crate) fn internal(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!("{error}");
    Problem::new(Code::Internal, "the server has failed: the reason is in its log")
}

pub(crate) fn manifest(faults: &Faults) -> Problem {
    let details = faults.iter().map(|fault| {
        let position = faults.position(fault);
        let message =
            format!("{MANIFEST}:{}:{}: {}", position.line, position.column, fault.message);
        Detail { message, help: fault.help.clone() }
    });
    Problem::new(Code::Manifest, "the manifest has faults").details(details)
}

pub(crate) fn unlinkable(faults: &LinkFaults) -> Problem {
    let details =
        faults.iter().map(|fault| Detail { message: fault.to_string(), help: fault.help() });
    Problem::new(Code::Unlinkable, "the components do not fit").details(details)
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        if error.is_disk_full() {
            tracing::error!("{error}");
            return disk_full();
        }
        internal(&error)
    }
}

/// What a failure of the disk is told as.
pub(crate) fn of_disk(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(),
        _ => internal(error),
    }
}

fn disk_full() -> Problem {
    Problem::new(Code::DiskFull, "the server's disk is full, and nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_needed_again_is_kept() {
        let numbers: BTreeSet<u32> = (1..=40).collect();
        let record = AppRecord {
            traffic: BTreeMap::from([(3, 100)]),
            whole: vec![1, 3],
            ..AppRecord::default()
        };
        let gone = superfluous(&numbers, &record);
        assert_eq!(
            gone.into_iter().collect::<Vec<_>>(),
            [&[2][..], &(4..=20).collect::<Vec<_>>()].concat()
        );
    }
}
