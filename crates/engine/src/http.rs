//! Calling a component's HTTP handler, of WASI 0.2 or 0.3, in an instance of its own.

use std::{
    fmt,
    future::{self, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::header::CONTENT_LENGTH;
use thiserror::Error;
use wasmtime::{AsContextMut, PoolConcurrencyLimitError, Store, WasmBacktrace, component::Linker};
use wasmtime_wasi_http::{
    WasiBody,
    handler::{Prepared, ProxyPre},
    p2, p3,
};

use crate::{
    Budget, Code, Engine, InstanceState, LinkError, ResponseBody,
    body::{Body, Patience, Upload, into_wasi_body},
    epoch::Running,
};

/// The HTTP handler of a component, linked.
pub struct HttpEntry<T: 'static>(Arc<ProxyPre<T>>);

/// What the guest does on behalf of one request, from instantiation to the end of its last task.
/// Dropping it stops the guest at once and frees the instance.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

type HeadSender = futures_channel::oneshot::Sender<wasmtime::Result<http::Response<WasiBody>>>;
type Head = futures_channel::oneshot::Receiver<wasmtime::Result<http::Response<WasiBody>>>;

impl<T: InstanceState> HttpEntry<T> {
    /// The handler that `code` exports, linked; `None` where it exports none.
    ///
    /// # Errors
    /// When an import is missing or of another type.
    pub fn new(linker: &Linker<T>, code: &Code) -> Option<Result<Self, LinkError>> {
        let pre = || linker.instantiate_pre(code.component());
        let pre = if code.exports_version("wasi:http/handler", "0.3.") {
            pre().and_then(p3::bindings::ServicePre::new).map(ProxyPre::P3)
        } else if code.exports_version("wasi:http/incoming-handler", "0.2.") {
            pre().and_then(p2::bindings::ProxyPre::new).map(ProxyPre::P2)
        } else {
            return None;
        };
        Some(pre.map(|pre| Self(Arc::new(pre))).map_err(LinkError::new))
    }

    /// Makes an instance in `store` and drops it: the least that a request costs.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn instantiate(&self, mut store: Store<T>) -> Result<(), CallError> {
        match self.0.instantiate_async(&mut store).await {
            Ok(_) => Ok(()),
            Err(error) => Err(CallError::failed(error, store.data_mut().budget())),
        }
    }

    /// Prepares the call of the handler with `request` in a new instance in `store`. The guest
    /// runs while the returned call, and then the response's body, are polled; `guard` is dropped
    /// after the last of its work.
    pub fn call<G: Send + 'static>(
        &self,
        engine: &Engine,
        store: Store<T>,
        request: http::Request<Body>,
        time: Duration,
        guard: G,
    ) -> HttpCall<G> {
        let (sender, head) = futures_channel::oneshot::channel();
        let upload = Upload::default();
        let request = request.map(|body| into_wasi_body(body, upload.clone()));
        let running = engine.running();
        let work = run(self.0.clone(), store, request, sender, running);
        // A panic in a host call is that request's alone.
        let work = AssertUnwindSafe(work).catch_unwind().map(|result| match result {
            Ok(result) => result,
            Err(_) => Err(CallError::Panicked),
        });
        HttpCall { head, work: Box::pin(work), guard, patience: Patience::new(time, upload) }
    }
}

async fn run<T: InstanceState>(
    pre: Arc<ProxyPre<T>>,
    mut store: Store<T>,
    request: http::Request<WasiBody>,
    sender: HeadSender,
    _running: Running,
) -> Result<(), CallError> {
    let proxy = match pre.instantiate_async(&mut store).await {
        Ok(proxy) => proxy,
        Err(error) => return Err(CallError::failed(error, store.data_mut().budget())),
    };
    let result = store
        .run_concurrent(async |accessor| {
            accessor
                .with(|mut store| {
                    Prepared::new(store.as_context_mut(), &proxy, request, T::http, sender)
                })?
                .run(accessor, future::pending())
                .await?;
            // The body is written by tasks that outlive the call.
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(())
        })
        .await
        .flatten();
    result.map_err(|error| CallError::failed(error, store.data_mut().budget()))
}

/// A call of an HTTP handler on its way to a response.
pub struct HttpCall<G> {
    head: Head,
    work: Work,
    guard: G,
    patience: Patience,
}

impl<G: Send + 'static> HttpCall<G> {
    /// Runs the guest until the head of its response is there.
    ///
    /// `on_late_failure` is told of what goes wrong afterwards.
    ///
    /// # Errors
    /// When the guest traps, answers with an error or not at all, or takes too long.
    pub async fn response(
        self,
        on_late_failure: impl FnOnce(CallError) + Send + 'static,
    ) -> Result<http::Response<ResponseBody<G>>, CallError> {
        let Self { mut head, work, guard, mut patience } = self;
        let mut work = Some(work);
        let response = poll_fn(|cx| {
            match work.as_mut().map(|work| work.as_mut().poll(cx)) {
                Some(Poll::Ready(result)) => {
                    work = None;
                    result?;
                }
                Some(Poll::Pending) | None => {}
            }
            match head.poll_unpin(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(response.map_err(CallError::answered)),
                Poll::Ready(Err(_)) if work.is_none() => Poll::Ready(Err(CallError::NoResponse)),
                // A guest that fails drops the sender before its work has ended with the reason.
                Poll::Ready(Err(_)) | Poll::Pending => patience.poll_end(cx).map(Err),
            }
        })
        .await?;
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| {
            value.to_str().ok()?.parse().ok() // Checked by wasi:http where a guest sets it.
        });
        let on_late_failure = Box::new(on_late_failure);
        Ok(response
            .map(|body| ResponseBody::new(body, length, work, guard, patience, on_late_failure)))
    }
}

/// Why a guest did not do what it was called for.
#[derive(Debug, Error)]
pub enum CallError {
    /// It trapped, or its instance could not be made. Shows the guest's backtrace.
    #[error("{}", Explained(.0))]
    Failed(wasmtime::Error),
    /// The same, after it had been refused memory.
    #[error("memory limit of {limit} bytes reached, {wanted} wanted: {}", Explained(.error))]
    Memory {
        /// What it may use, in bytes.
        limit: usize,
        /// What it would have used, in bytes.
        wanted: usize,
        /// The trap that followed.
        error: wasmtime::Error,
    },
    /// There is no room for another instance now.
    #[error("all instances are in use")]
    NoRoom,
    /// It kept its caller waiting for longer than its time limit.
    #[error("time limit of {0:?} reached")]
    Deadline(Duration),
    /// The client sent nothing for as long, while the guest waited for the rest of the request.
    #[error("the client sent nothing for {0:?}")]
    SilentClient(Duration),
    /// A host call panicked; the message is on standard error.
    #[error("a host call panicked")]
    Panicked,
    /// It returned without setting a response.
    #[error("the handler returned no response")]
    NoResponse,
    /// It answered with an error code of `wasi:http`.
    #[error("the handler returned the error {0}")]
    ErrorCode(String),
}

/// The reason first, then what it is about, then the guest's backtrace. Not the host's, which
/// wasmtime shows as well where `RUST_BACKTRACE` is set.
struct Explained<'a>(&'a wasmtime::Error);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        write!(f, "{}", error.root_cause())?;
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        let is_backtrace = |text: &str| text.starts_with("error while executing at wasm backtrace");
        for context in error.chain().map(ToString::to_string).filter(|text| !is_backtrace(text)) {
            if context != error.root_cause().to_string() {
                write!(f, ": {context}")?;
            }
        }
        match backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

impl CallError {
    pub(crate) fn failed(error: wasmtime::Error, budget: &Budget) -> Self {
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::NoRoom;
        }
        match budget.refused() {
            Some(wanted) => Self::Memory { limit: budget.memory_limit(), wanted, error },
            None => Self::Failed(error),
        }
    }

    /// An error that came in the place of a response.
    fn answered(error: wasmtime::Error) -> Self {
        if let Some(code) = error.downcast_ref::<p3::bindings::http::types::ErrorCode>() {
            Self::ErrorCode(format!("{code:?}"))
        } else if let Some(code) = error.downcast_ref::<p2::bindings::http::types::ErrorCode>() {
            Self::ErrorCode(format!("{code:?}"))
        } else {
            Self::Failed(error)
        }
    }
}
