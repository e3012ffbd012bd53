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
use dhow_manifest::Name;
use thiserror::Error;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    Callee, Core, Host, LinkedEntry, LiveApp,
    admission::{Full, Place},
    code::LoadError,
    live::{LiveEntry, Permits},
    share::Admitted,
};

/// A request for an entry.
pub struct Invocation {
    /// What it is called in the log.
    pub id: RequestId,
    /// Who is to answer.
    pub callee: Callee,
    /// The request.
    pub request: http::Request<Body>,
}

/// The body of a response, which runs the guest while it is read.
pub type ResponseBody = dhow_engine::ResponseBody<Guard>;

/// Counts an invocation for as long as it is under way, work after the response included.
pub struct Guard {
    _place: Place,
    _permits: Permitted,
    _admitted: [Admitted; 2],
    _token: TaskTrackerToken,
    /// Its components can be called by name for as long as anything is under way.
    _app: Arc<LiveApp>,
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

    /// A number of which those of consecutive ids are spread evenly (Fibonacci hashing).
    pub(crate) fn spread(self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
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
    /// The tenant has as many invocations under way as it may.
    #[error("tenant `{0}` has {1} requests under way, and may not have more")]
    TenantBusy(Name, u32),
    /// The tenant gets more requests for each second than it may.
    #[error("tenant `{0}` gets more requests than it may for each second")]
    TenantRate(Name, Duration),
    /// The app has as many invocations under way as its tenant's operator lets it.
    #[error("app `{0}` has {1} requests under way, and may not have more")]
    AppBusy(Name, u32),
    /// The app gets more requests for each second than its tenant's operator lets it.
    #[error("app `{0}` gets more requests than it may for each second")]
    AppRate(Name, Duration),
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
    /// Makes an instance of `callee` and drops it: the floor that measurements of requests are
    /// held against.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn instantiate(&self, callee: &Callee) -> Result<(), Failure> {
        let LinkedEntry { code, granted, .. } = &callee.entry().linked;
        let loader = &self.core.loader;
        let entry = loader.entry(code).await?;
        let state = callee.app.tenant.open(&callee.app.share, granted);
        Ok(entry.instantiate(loader.engine.store(state)).await?)
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
        Invocation { id, callee, request }: Invocation,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        let tenant = &callee.app.tenant;
        let LinkedEntry { code, granted, limits, .. } = &callee.entry().linked;
        let depth: Option<Depth> = request.extensions().get().cloned();
        let share = &callee.app.share;
        let admitted = tenant.admit(callee.app(), share, depth.is_none())?;
        let permits = permits(callee.entry()).await?;
        let callers = depth.as_ref().and_then(|_| self.callers());
        let claimant = callers.unwrap_or(&tenant.claimant);
        let place = self.admission.enter(claimant, depth.is_some()).await?;
        let handler = self.loader.entry(code).await?;
        let guard = Guard {
            _place: place,
            _permits: permits,
            _admitted: admitted,
            _token: self.invocations.token(),
            _app: callee.app.clone(),
            _depth: depth,
        };
        let open = || self.loader.engine.store(tenant.open(share, granted));
        let call = handler.call(open, request, limits.time, guard);
        let name = callee.component().clone();
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
