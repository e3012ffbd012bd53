//! One event on its way through: admission, then the guest.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use dhow_engine::{Body, CallError, ResponseBody};
use thiserror::Error;

use crate::{Host, LiveComponent};

/// A request for a component.
pub struct Invocation {
    /// What it is called in the log.
    pub id: RequestId,
    /// Who is to answer.
    pub component: Arc<LiveComponent>,
    /// The request.
    pub request: http::Request<Body>,
}

/// Names a request in the log and to the client: sixteen hexadecimal digits, different for each
/// request of a process, and most likely for those of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The next id.
    pub fn next() -> Self {
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
            // Without randomness ids are still different within the process.
            AtomicU64::new(getrandom::u64().unwrap_or_default())
        });
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why an invocation has no outcome of the guest's.
#[derive(Debug, Error)]
pub enum Failure {
    /// The component has as many invocations under way as it may.
    #[error("concurrency limit of {0} reached")]
    Busy(u32),
    /// The guest failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Host {
    /// Runs the guest until the head of its response is there. The guest goes on while the
    /// response's body is read; dropping either stops it.
    ///
    /// # Errors
    /// When the component is at its limit, or the guest fails.
    pub async fn dispatch(
        &self,
        Invocation { id, component, request }: Invocation,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        let linked = &component.linked;
        let permit = component
            .permits
            .clone()
            .try_acquire_owned()
            .map_err(|_| Failure::Busy(linked.limits.concurrency))?;
        let guard = (permit, self.invocations.token());
        let state = self.capabilities.open(&linked.granted);
        let store = self.engine.store(state);
        let call = linked.entry.call(&self.engine, store, request, linked.limits.time, guard);
        let name = linked.name.clone();
        let response = call
            .response(move |error| {
                tracing::error!(component = %name, %id, "after the head of the response: {error}");
            })
            .await?;
        Ok(response)
    }
}
