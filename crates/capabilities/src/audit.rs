//! Calls that were denied: a record of each in the log, and how many there were.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use dhow_manifest::Name;

/// How often each component was denied what.
#[derive(Default)]
pub struct Denials(Mutex<BTreeMap<Denied, u64>>);

/// What is counted together: an app, one of its components, and a capability.
pub type Denied = (Name, Name, &'static str);

impl Denials {
    /// How many calls were denied so far.
    pub fn counts(&self) -> BTreeMap<Denied, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where the denials of one component are recorded.
#[derive(Clone)]
pub(crate) struct Audit {
    app: Name,
    component: Name,
    denials: Arc<Denials>,
}

impl Audit {
    pub(crate) fn new(app: &Name, component: &Name, denials: &Arc<Denials>) -> Self {
        Self { app: app.clone(), component: component.clone(), denials: denials.clone() }
    }

    /// What the component is called.
    pub(crate) fn component(&self) -> &Name {
        &self.component
    }

    /// Records that `capability` was denied: what was asked for, and what would allow it.
    pub(crate) fn deny(
        &self,
        capability: &'static str,
        asked_for: impl Display,
        help: impl Display,
    ) {
        let Self { app, component, denials } = self;
        let mut counts = denials.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((app.clone(), component.clone(), capability)).or_default() += 1;
        drop(counts);
        tracing::warn!(%component, %app, capability, "denied: {asked_for}; {help}");
    }
}
