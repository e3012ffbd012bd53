//! The app that answers, and what each of its components has under way.

use std::sync::Arc;

use dhow_manifest::Name;
use tokio::sync::Semaphore;

use crate::{LinkedApp, LinkedComponent, admission::Tenant, router::Router};

/// An app at work. It is kept small: there may be a hundred thousand of which none is called.
pub struct LiveApp {
    name: Name,
    /// In the order of their names.
    components: Box<[Arc<LiveComponent>]>,
    /// Gives indexes of `components`.
    router: Router,
}

/// A component at work.
pub struct LiveComponent {
    pub(crate) linked: LinkedComponent,
    pub(crate) tenant: Arc<Tenant>,
    /// One for each invocation that it may have under way.
    pub(crate) permits: Arc<Semaphore>,
}

impl LiveApp {
    pub(crate) fn new(
        LinkedApp { app, components, router }: LinkedApp,
        tenant: &Arc<Tenant>,
    ) -> Self {
        let components = components
            .into_iter()
            .map(|linked| {
                let permits = Arc::new(Semaphore::new(linked.limits.concurrency as usize));
                Arc::new(LiveComponent { linked, tenant: tenant.clone(), permits })
            })
            .collect();
        Self { name: app.name().clone(), components, router }
    }

    /// The app's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The component that answers requests for `path`.
    pub fn route(&self, path: &str) -> Option<&Arc<LiveComponent>> {
        self.components.get(self.router.find(path)?)
    }
}

impl LiveComponent {
    /// The component's name.
    pub fn name(&self) -> &Name {
        &self.linked.name
    }

    /// Whether its code is loaded.
    pub fn is_loaded(&self) -> bool {
        self.linked.code.is_loaded()
    }
}
