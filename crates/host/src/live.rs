//! The app that answers, and what each of its components has under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use dhow_manifest::{Entry, Name};
use tokio::sync::Semaphore;

use crate::{Core, LinkedApp, LinkedEntry, admission::Tenant, router::Router};

/// An app at work. It is kept small: there may be a hundred thousand of which none is called.
pub struct LiveApp {
    name: Name,
    entries: Box<[Arc<LiveEntry>]>,
    /// Gives indexes of `entries`.
    router: Router,
    /// By which its components call each other.
    pub(crate) core: Arc<Core>,
}

/// An entry at work.
pub struct LiveEntry {
    pub(crate) linked: LinkedEntry,
    pub(crate) tenant: Arc<Tenant>,
    /// Of each component that it is made of.
    pub(crate) permits: Box<[Permits]>,
}

/// One for each invocation that a component may have under way, in whatever entry.
#[derive(Clone)]
pub(crate) struct Permits {
    pub(crate) free: Arc<Semaphore>,
    pub(crate) limit: u32,
}

impl LiveApp {
    pub(crate) fn new(
        LinkedApp { app, entries, router, neighbourhood }: LinkedApp,
        core: &Arc<Core>,
        tenant: &Arc<Tenant>,
    ) -> Arc<Self> {
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
                Arc::new(LiveEntry { permits, tenant: tenant.clone(), linked })
            })
            .collect();
        let live = Arc::new(Self { name: app.name().clone(), entries, router, core: core.clone() });
        if app.components().values().any(|component| !component.grants.calls.is_empty()) {
            core.keep_places_for_calls();
        }
        let neighbours: Weak<Self> = Arc::downgrade(&live);
        neighbourhood.settle(neighbours);
        live
    }

    /// The app's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Who answers requests for `path`.
    pub fn route(&self, path: &str) -> Option<&Arc<LiveEntry>> {
        self.entries.get(self.router.find(path)?)
    }

    /// The component `name` as others call it: with no middleware in front of it.
    pub(crate) fn neighbour(&self, name: &Name) -> Option<&Arc<LiveEntry>> {
        let is_called = |entry: &Entry| entry.component == *name && entry.middleware.is_empty();
        self.entries.iter().find(|live| is_called(&live.linked.entry))
    }
}

impl LiveEntry {
    /// The name of the component that answers.
    pub fn name(&self) -> &Name {
        &self.linked.entry.component
    }

    /// Whether its code is loaded.
    pub fn is_loaded(&self) -> bool {
        self.linked.code.is_loaded()
    }
}
