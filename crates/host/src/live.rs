//! The app that answers, and what each of its components has under way.

use std::sync::Arc;

use dhow_manifest::{App, Name};
use tokio::sync::Semaphore;

use crate::{LinkedApp, LinkedComponent, router::Router};

/// An app at work.
pub struct LiveApp {
    app: App,
    /// In the order of their names.
    components: Vec<Arc<LiveComponent>>,
    /// Gives indexes of `components`.
    router: Router,
}

/// A component at work.
pub struct LiveComponent {
    pub(crate) linked: LinkedComponent,
    /// One for each invocation that it may have under way.
    pub(crate) permits: Arc<Semaphore>,
}

impl LiveApp {
    pub(crate) fn new(LinkedApp { app, components, router }: LinkedApp) -> Self {
        let components = components
            .into_iter()
            .map(|linked| {
                let permits = Semaphore::new(linked.limits.concurrency as usize);
                Arc::new(LiveComponent { linked, permits: Arc::new(permits) })
            })
            .collect();
        Self { app, components, router }
    }

    /// The checked manifest.
    pub fn app(&self) -> &App {
        &self.app
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
}
