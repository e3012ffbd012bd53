//! One event on its way through: admission, then the guest.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dhow_engine::{Body, CallError};
use thiserror::Error;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{Host, LinkedComponent, LiveComponent};

/// A request for a component.
pub struct Invocation {
    /// What it is called in the log.
    pub id: RequestId,
    /// Who is to answer.
    pub component: Arc<LiveComponent>,
    /// The request.
    pub request: http::Request<Body>,
}

/// The body of a response, which runs the guest while it is read.
pub type ResponseBody = dhow_engine::ResponseBody<Guard>;

/// Counts an invocation for as long as it is under way, work after the response included.
pub struct Guard {
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

/// How long a request waits for a place: as long as an invocation that has answered takes to be
/// gone, so that a client's next request is not refused for the sake of its last.
const ADMISSION_WAIT: Duration = Duration::from_millis(5);

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
    /// Makes an instance of `component` and drops it: the floor that measurements of requests are
    /// held against.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn instantiate(&self, component: &LiveComponent) -> Result<(), CallError> {
        let LinkedComponent { entry, granted, .. } = &component.linked;
        entry.instantiate(self.engine.store(self.capabilities.open(granted))).await
    }

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
        let permits = component.permits.clone();
        let permit = match timeout(ADMISSION_WAIT, permits.acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(Failure::Busy(linked.limits.concurrency)),
        };
        let guard = Guard { _permit: permit, _token: self.invocations.token() };
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
