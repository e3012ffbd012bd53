//! Whether a server wants requests.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Said to whoever sends requests here: load balancers, Kubernetes.
#[derive(Debug, Default)]
pub(crate) struct Readiness(AtomicBool);

impl Readiness {
    pub(crate) fn set(&self, is_ready: bool) {
        self.0.store(is_ready, Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Relaxed)
    }
}
