//! One event on its way through: admission, then the guest.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dhow_capabilities::Depth;
use dhow_engine::{Body, CallError};
use thiserror::Error;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    Core, Host, LinkedEntry, LiveEntry,
    admission::{Full, Place},
    code::LoadError,
    live::Permits,
};

/// A request for an entry.
pub struct Invocation {
    /// What it is called in the log.
    pub id: RequestId,
    /// Who is to answer.
    pub entry: Arc<LiveEntry>,
    /// The request.
    pub request: http::Request<Body>,
}

/// The body of a response, which runs the guest while it is read.
pub type ResponseBody = dhow_engine::ResponseBody<Guard>;

/// Counts an invocation for as long as it is under way, work after the response included.
pub struct Guard {
    _place: Place,
    _permits: Permitted,
    _token: TaskTrackerToken,
    /// Where it is a call by name: how deep, while it lasts.
    _depth: Option<Depth>,
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
    /// There is no instance for it.
    #[error(transparent)]
    Full(#[from] Full),
    /// Its code can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The guest failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Host {
    /// Makes an instance of `entry` and drops it: the floor that measurements of requests are
    /// held against.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn instantiate(&self, entry: &LiveEntry) -> Result<(), Failure> {
        let LinkedEntry { code, granted, .. } = &entry.linked;
        let Core { loader, capabilities, account, .. } = &*self.core;
        let entry = loader.entry(code).await?;
        Ok(entry.instantiate(loader.engine.store(capabilities.open(granted, account))).await?)
    }

    /// Runs the guest until the head of its response is there. The guest goes on while the
    /// response's body is read; dropping either stops it.
    ///
    /// # Errors
    /// When the component is at its limit, there is no room for it, or the guest fails.
    pub async fn dispatch(
        &self,
        invocation: Invocation,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        self.core.dispatch(invocation).await
    }
}

impl Core {
    /// See [`Host::dispatch`].
    pub(crate) async fn dispatch(
        &self,
        Invocation { id, entry, request }: Invocation,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        let LinkedEntry { code, granted, limits, .. } = &entry.linked;
        let permits = permits(&entry).await?;
        let depth: Option<Depth> = request.extensions().get().cloned();
        let callers = depth.as_ref().and_then(|_| self.callers());
        let tenant = callers.unwrap_or(&entry.tenant);
        let place = self.admission.enter(tenant, depth.is_some()).await?;
        let handler = self.loader.entry(code).await?;
        let guard = Guard {
            _place: place,
            _permits: permits,
            _token: self.invocations.token(),
            _depth: depth,
        };
        let open = || self.loader.engine.store(self.capabilities.open(granted, &self.account));
        let call = handler.call(open, request, limits.time, guard);
        let name = entry.name().clone();
        let response = call
            .response(move |error| {
                tracing::error!(component = %name, %id, "after the head of the response: {error}");
            })
            .await?;
        Ok(response)
    }
}

async fn permits(entry: &LiveEntry) -> Result<Permitted, Failure> {
    let mut permitted = Permitted { first: None, others: Vec::new() };
    for Permits { free, limit } in &entry.permits {
        let permit = match free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match timeout(ADMISSION_WAIT, free.clone().acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return Err(Failure::Busy(*limit)),
            },
        };
        match permitted.first {
            None => permitted.first = Some(permit),
            Some(_) => permitted.others.push(permit),
        }
    }
    Ok(permitted)
}

/// One of each component that an entry is made of: mostly of one.
struct Permitted {
    first: Option<OwnedSemaphorePermit>,
    others: Vec<OwnedSemaphorePermit>,
}
