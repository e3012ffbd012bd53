//! An app at work, and what each of its components has under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use dhow_capabilities::Neighbours;
use dhow_manifest::{Entry, Name};
use tokio::sync::Semaphore;

use crate::{Core, Host, LinkedApp, LinkedEntry, Tenant, router::Router, share::Share};

/// An app at work. It is kept small: there may be a hundred thousand of which none is called.
pub struct LiveApp {
    name: Name,
    pub(crate) tenant: Arc<Tenant>,
    /// What it has of its tenant's, with the app's other revisions.
    pub(crate) share: Arc<Share>,
    entries: Box<[LiveEntry]>,
    /// Gives indexes of `entries`.
    router: Router,
    /// By which its components call each other.
    pub(crate) core: Arc<Core>,
}

/// An entry at work.
pub(crate) struct LiveEntry {
    pub(crate) linked: LinkedEntry,
    /// Of each component that it is made of.
    pub(crate) permits: Box<[Permits]>,
}

/// Who is called: an entry of an app at work, and with it the app.
#[derive(Clone)]
pub struct Callee {
    pub(crate) app: Arc<LiveApp>,
    index: usize,
}

/// One for each invocation that a component may have under way, in whatever entry.
#[derive(Clone)]
pub(crate) struct Permits {
    pub(crate) free: Arc<Semaphore>,
    pub(crate) limit: u32,
}

impl Host {
    /// Sets an app to work. Nobody finds it yet.
    pub fn start(
        &self,
        LinkedApp { app, tenant, entries, router, neighbourhood }: LinkedApp,
    ) -> Arc<LiveApp> {
        let core = &self.core;
        let permits: BTreeMap<&Name, Permits> = app
            .components()
            .iter()
            .map(|(name, component)| {
                let limit = component.limits.concurrency;
                (name, Permits { free: Arc::new(Semaphore::new(limit as usize)), limit })
            })
            .collect();
        let entries = entries
            .into_iter()
            .map(|linked| {
                // In the order of their names, so that no two entries wait for each other.
                let mut names: Vec<_> = linked.parts.iter().collect();
                names.sort();
                let permits = names.iter().filter_map(|name| permits.get(*name)).cloned().collect();
                LiveEntry { permits, linked }
            })
            .collect();
        let name = app.name().clone();
        let share = tenant.app(&name);
        let live = LiveApp { name, tenant, share, entries, router, core: core.clone() };
        let live = Arc::new(live);
        if app.components().values().any(|component| !component.grants.calls.is_empty()) {
            core.keep_places_for_calls();
        }
        let neighbours: Weak<dyn Neighbours> = Arc::<LiveApp>::downgrade(&live);
        neighbourhood.settle(neighbours);
        live
    }
}

impl LiveApp {
    /// The app's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Who answers requests for `path`.
    pub fn route(self: &Arc<Self>, path: &str) -> Option<Callee> {
        self.callee(self.router.find(path)?)
    }

    /// The component `name` as others call it: with no middleware in front of it.
    pub(crate) fn neighbour(self: &Arc<Self>, name: &Name) -> Option<Callee> {
        let is_called = |entry: &Entry| entry.component == *name && entry.middleware.is_empty();
        self.callee(self.entries.iter().position(|live| is_called(&live.linked.entry))?)
    }

    fn callee(self: &Arc<Self>, index: usize) -> Option<Callee> {
        (index < self.entries.len()).then(|| Callee { app: self.clone(), index })
    }
}

impl Callee {
    pub(crate) fn entry(&self) -> &LiveEntry {
        #[expect(clippy::indexing_slicing, reason = "`callee` alone makes one, after a look")]
        &self.app.entries[self.index]
    }

    /// The app's name.
    pub fn app(&self) -> &Name {
        &self.app.name
    }

    /// Whose app it is.
    pub fn tenant(&self) -> &Name {
        self.app.tenant.name()
    }

    /// The name of the component that answers.
    pub fn component(&self) -> &Name {
        &self.entry().linked.entry.component
    }

    /// Whether its code is loaded.
    pub fn is_loaded(&self) -> bool {
        self.entry().linked.code.is_loaded()
    }
}
