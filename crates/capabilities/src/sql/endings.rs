//! What is done with connections after their sessions.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{runtime::Handle, task::JoinSet};

/// What is still done with connections whose sessions are over. It ends with the pool.
#[derive(Clone, Default)]
pub(super) struct Endings(Arc<Mutex<JoinSet<()>>>);

impl Endings {
    /// Has `ending` done, unless there is no runtime any more.
    pub(super) fn begin(&self, ending: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while endings.try_join_next().is_some() {}
        endings.spawn_on(ending, &runtime);
    }
}
