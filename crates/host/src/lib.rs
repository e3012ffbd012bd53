//! Apps at work: linking a checked app with its components, admission, dispatch.

mod command;
mod dispatch;
mod link;
mod live;
mod router;

pub use command::{LinkedCommand, RunError};
pub use dhow_engine::{Body, CallError};
pub use dispatch::{Failure, Guard, Invocation, RequestId, ResponseBody};
pub use link::{LinkFault, LinkFaults, LinkedApp, LinkedComponent};
pub use live::{LiveApp, LiveComponent};

use arc_swap::ArcSwapOption;
use dhow_capabilities::{Capabilities, State};
use dhow_engine::{Engine, Linker};
use tokio_util::task::TaskTracker;

use std::sync::Arc;

/// Links apps and runs them. One for each process.
pub struct Host {
    engine: Engine,
    linker: Linker<State>,
    capabilities: Capabilities,
    live: ArcSwapOption<LiveApp>,
    invocations: TaskTracker,
}

impl Host {
    /// A host on which no app is live yet.
    ///
    /// # Panics
    /// Never: the interfaces that are linked are fixed, and a test links them.
    pub fn new(engine: Engine, capabilities: Capabilities) -> Self {
        let mut linker = engine.linker();
        if let Err(error) = dhow_capabilities::link(&mut linker) {
            unreachable!("an interface is linked twice: {error}");
        }
        Self {
            engine,
            linker,
            capabilities,
            live: ArcSwapOption::empty(),
            invocations: TaskTracker::new(),
        }
    }

    /// Makes `app` the one that answers. Requests that are under way stay with the one before.
    pub fn deploy(&self, app: LinkedApp) {
        self.live.store(Some(Arc::new(LiveApp::new(app))));
    }

    /// The app that answers.
    pub fn live(&self) -> Option<Arc<LiveApp>> {
        self.live.load_full()
    }

    /// Completes when no invocation is under way, work after the response included. To be called
    /// when no more can begin.
    pub async fn drained(&self) {
        self.invocations.close();
        self.invocations.wait().await;
    }

    /// The number of invocations under way.
    pub fn invocations(&self) -> usize {
        self.invocations.len()
    }
}
