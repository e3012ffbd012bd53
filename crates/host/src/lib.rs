//! Apps at work: linking a checked app with its components, admission, dispatch.

mod admission;
mod assembly;
mod code;
mod command;
mod dispatch;
mod link;
mod live;
mod neighbours;
mod router;
mod share;
mod site;
mod stats;
mod surfaces;
mod table;
mod tenant;

pub use admission::{Full, ReserveError};
pub use assembly::compose;
pub use code::LoadError;
pub use command::{LinkedCommand, RunError};
pub use dhow_capabilities::Corked;
pub use dhow_engine::{Body, CallError};
pub use dispatch::{Failure, Guard, Invocation, RequestId, ResponseBody};
pub use link::{LinkFault, LinkFaults, LinkedApp, LinkedEntry};
pub use live::{Callee, LiveApp};
pub use share::Share;
pub use site::{NotWhole, Revision, Site, Source, Sticky, Traffic};
pub use stats::{Histogram, Stats, Summary};
pub use table::{Hosts, Table, preview_host, preview_of};
pub use tenant::Tenant;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use dhow_engine::Engine;
use tokio_util::task::TaskTracker;

use admission::{Admission, Claimant};
use code::Loader;

/// What a host allows.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The bytes of compiled code that one app may have.
    pub code_budget: u64,
    /// Whether a component with a `build` is this user's own work, and is compiled in this process; else
    /// it may be anybody's.
    pub trusts_builds: bool,
}

impl Default for Settings {
    fn default() -> Self {
        // Twenty-five components of the largest that toolchains make: Python's, of 39 MB.
        Self { code_budget: 1 << 30, trusts_builds: true }
    }
}

/// Links apps and runs them. One for each process.
pub struct Host {
    settings: Settings,
    core: Arc<Core>,
    table: Table,
}

/// What runs invocations: the host's, and apps' own, for calls among their components.
pub(crate) struct Core {
    pub(crate) loader: Arc<Loader>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) invocations: TaskTracker,
    /// Whose are the places that are kept for calls by name, once there is an app that makes any.
    callers: OnceLock<Option<Arc<Claimant>>>,
}

/// The part of all places that is kept for calls by name: who calls has a place and keeps it until the
/// answer, so that where callers had all of them they would wait for each other.
const KEPT_FOR_CALLS: usize = 8;
/// As many as there are depths for each of a few dozen callers.
const MOST_KEPT_FOR_CALLS: usize = 1_000;

impl Core {
    /// Keeps places for calls by name, where there is more than one.
    pub(crate) fn keep_places_for_calls(&self) {
        let places = self.loader.engine.places();
        let kept = (places / KEPT_FOR_CALLS).clamp(1, MOST_KEPT_FOR_CALLS);
        self.callers
            .get_or_init(|| (places > 1).then(|| self.admission.claimant(kept).ok()).flatten());
    }

    /// Who has those places.
    pub(crate) fn callers(&self) -> Option<&Arc<Claimant>> {
        self.callers.get()?.as_ref()
    }
}

impl Host {
    /// A host on which no app is live yet.
    ///
    /// # Panics
    /// Never: the interfaces that are linked are fixed, and a test links them.
    pub fn new(engine: Engine, settings: Settings) -> Self {
        let mut linker = engine.linker();
        if let Err(error) = dhow_capabilities::link(&mut linker) {
            unreachable!("an interface is linked twice: {error}");
        }
        let core = Core {
            admission: Admission::new(engine.places()),
            loader: Loader::new(Arc::new(engine), linker),
            invocations: TaskTracker::new(),
            callers: OnceLock::new(),
        };
        Self { settings, core: Arc::new(core), table: Table::default() }
    }

    /// Who answers at which host.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Lets go of the instances that wait for requests for longer than they may, and of the code
    /// of components that were not called for `unused`. To be called now and then.
    pub fn sweep(&self, unused: Duration) {
        self.core.loader.engine.expire_idle_instances();
        self.core.loader.unload(unused);
    }

    /// The number of entries whose code is loaded.
    pub fn loaded(&self) -> usize {
        self.core.loader.count()
    }

    /// Completes when no invocation is under way, work after the response included. To be called
    /// when no more can begin.
    pub async fn drained(&self) {
        self.core.invocations.close();
        self.core.invocations.wait().await;
    }

    /// The number of invocations under way.
    pub fn invocations(&self) -> usize {
        self.core.invocations.len()
    }
}
