//! Calling a component's HTTP handler, of WASI 0.2 or 0.3.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use http::header::CONTENT_LENGTH;
use tracing::Instrument as _;
use wasmtime::{Store, component::Linker};
use wasmtime_wasi_http::{WasiBody, handler::ProxyPre, p2, p3};

use crate::{
    Account, CallError, Code, Engine, InstanceState, LinkError, ResponseBody,
    body::{Body, BodyEnd, Patience, Upload, into_wasi_body},
    instance::{HeadSender, Instance},
    metered::{Metered, metered},
    reuse::{Reuse, Used, Warm},
    shared::{Place, Shared},
};

/// The HTTP handler of a component, linked. Its clones share their instances.
pub struct HttpEntry<T: 'static>(Arc<Entry<T>>);

struct Entry<T: 'static> {
    engine: Arc<Engine>,
    /// Held so that others who load the same share it.
    _code: Code,
    pre: Arc<ProxyPre<T>>,
    instances: Instances<T>,
}

/// Where the instance of a call comes from.
enum Instances<T: 'static> {
    Fresh,
    Warm(Arc<Warm<T>>),
    Shared(Arc<Shared>),
}

/// What the guest does on behalf of one request. Where the instance is the request's own, dropping
/// it stops the guest at once and frees the instance.
pub(crate) type Work = Box<dyn GuestWork>;

/// See [`Work`].
pub(crate) trait GuestWork: Future<Output = Result<(), CallError>> + Send + Unpin {
    /// Whether a step of it is done by another thread. Nothing that it writes is looked at meanwhile, so that
    /// an instance is free again when its response is there, wherever it was run.
    fn is_away(&self) -> bool;

    /// The next step is most likely the last, and a brief one.
    fn finish(&mut self);
}

impl<F> GuestWork for Metered<F>
where
    F: Future<Output = Result<(), CallError>> + Send + 'static,
{
    fn is_away(&self) -> bool {
        self.is_away()
    }

    fn finish(&mut self) {
        self.stay();
    }
}

pub(crate) fn is_away(work: &Option<Work>) -> bool {
    work.as_ref().is_some_and(|work| work.is_away())
}

type Head = futures_channel::oneshot::Receiver<wasmtime::Result<http::Response<WasiBody>>>;

impl<T: 'static> Clone for HttpEntry<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: InstanceState> HttpEntry<T> {
    /// The handler that `code` exports, linked; `None` where it exports none. Each request gets an
    /// instance of its own, unless `reuse` says otherwise.
    ///
    /// # Errors
    /// When an import is missing or of another type, or when requests are to share an instance
    /// that takes one at a time.
    pub fn new(
        engine: &Arc<Engine>,
        linker: &Linker<T>,
        code: &Code,
        reuse: Option<Reuse>,
    ) -> Option<Result<Self, LinkError>> {
        let pre = || code.instantiate_pre(linker);
        let pre = if code.exports_version("wasi:http/handler", "0.3.") {
            pre().and_then(p3::bindings::ServicePre::new).map(ProxyPre::P3)
        } else if code.exports_version("wasi:http/incoming-handler", "0.2.") {
            if reuse.is_some_and(|reuse| reuse.calls.get() > 1) {
                return Some(Err(LinkError::OneCallAtATime));
            }
            pre().and_then(p2::bindings::ProxyPre::new).map(ProxyPre::P2)
        } else {
            return None;
        };
        let instances = match reuse {
            None => Instances::Fresh,
            Some(reuse) if reuse.calls.get() > 1 => Instances::Shared(Arc::new(Shared::new(reuse))),
            Some(reuse) => {
                let warm = Arc::new(Warm::new(reuse));
                engine.idle().add(&warm);
                Instances::Warm(warm)
            }
        };
        let (engine, _code) = (engine.clone(), code.clone());
        let entry = |pre| Self(Arc::new(Entry { engine, _code, pre: Arc::new(pre), instances }));
        Some(pre.map(entry).map_err(LinkError::Import))
    }

    /// Whether it keeps instances for requests to come.
    pub fn has_instances(&self) -> bool {
        match &self.0.instances {
            Instances::Fresh => false,
            Instances::Warm(warm) => warm.has_instances(),
            Instances::Shared(shared) => shared.has_instances(),
        }
    }

    /// Makes an instance in `store` and drops it: the least that a request costs.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn instantiate(&self, store: Store<T>) -> Result<(), CallError> {
        Instance::make(&self.0.engine, &self.0.pre, store).await.map(drop)
    }

    /// Prepares the call of the handler with `request`, in a store that `open` makes where no
    /// instance is used again. The guest runs while the returned call, and then the response's
    /// body, are polled; `guard` is dropped after the last of its work.
    pub fn call<G: Send + 'static>(
        &self,
        open: impl FnOnce() -> Store<T>,
        request: http::Request<Body>,
        time: Duration,
        guard: G,
    ) -> HttpCall<G> {
        let (sender, head) = futures_channel::oneshot::channel();
        let upload = Upload::default();
        let request = request.map(|body| into_wasi_body(body, upload.clone()));
        let end = BodyEnd::default();
        let (work, place, guard) = match &self.0.instances {
            Instances::Fresh => {
                let mut store = open();
                let account = store.data_mut().budget().account().clone();
                let work = fresh(self.clone(), store, request, sender, end.clone());
                (self.own(account, work, guard), None, None)
            }
            Instances::Warm(warm) => {
                let mut source = warm.take().map_or_else(|| Source::New(open()), Source::Used);
                let account = source.store().data_mut().budget().account().clone();
                let work = used(self.clone(), warm.clone(), source, request, sender, end.clone());
                (self.own(account, work, guard), None, None)
            }
            Instances::Shared(shared) => {
                let Entry { engine, pre, .. } = &*self.0;
                let (work, place) = shared.call(engine, pre, open, request, sender, time);
                (work, Some(place), Some(guard))
            }
        };
        HttpCall { head, work, end, place, guard, patience: Patience::new(time, upload) }
    }

    /// Work on `account` that a panic in a host call ends alone. `guard` is dropped after it.
    fn own<G: Send + 'static>(
        &self,
        account: Arc<Account>,
        work: impl Future<Output = Result<(), CallError>> + Send + 'static,
        guard: G,
    ) -> Work {
        // While it waits for its turn as well: the ticker sees to turns.
        let running = self.0.engine.running();
        Box::new(metered(
            account,
            async move {
                // What is declared first is dropped last.
                let _guards = (guard, running);
                let result = AssertUnwindSafe(work).catch_unwind().await;
                result.unwrap_or(Err(CallError::Panicked))
            }
            // Whoever polls it: what the guest does belongs to what it was called for.
            .in_current_span(),
        ))
    }
}

async fn fresh<T: InstanceState>(
    HttpEntry(entry): HttpEntry<T>,
    store: Store<T>,
    request: http::Request<WasiBody>,
    head: HeadSender,
    end: BodyEnd,
) -> Result<(), CallError> {
    Instance::make(&entry.engine, &entry.pre, store).await?.answer(request, head, &end).await
}

enum Source<T: 'static> {
    New(Store<T>),
    Used(Used<T>),
}

impl<T: 'static> Source<T> {
    fn store(&mut self) -> &mut Store<T> {
        match self {
            Self::New(store) => store,
            Self::Used(used) => &mut used.instance.store,
        }
    }
}

async fn used<T: InstanceState>(
    HttpEntry(entry): HttpEntry<T>,
    warm: Arc<Warm<T>>,
    source: Source<T>,
    request: http::Request<WasiBody>,
    head: HeadSender,
    end: BodyEnd,
) -> Result<(), CallError> {
    let mut used = match source {
        Source::New(store) => Used::from(Instance::make(&entry.engine, &entry.pre, store).await?),
        Source::Used(mut used) => {
            used.instance.begin_anew();
            used
        }
    };
    used.instance.answer(request, head, &end).await?;
    warm.put_back(used);
    Ok(())
}

/// A call of an HTTP handler on its way to a response.
pub struct HttpCall<G> {
    head: Head,
    work: Work,
    end: BodyEnd,
    /// Where the instance answers others as well.
    place: Option<Place>,
    /// Where the work does not have it.
    guard: Option<G>,
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
        let Self { mut head, work, end, mut place, guard, mut patience } = self;
        let mut work = Some(work);
        let response = poll_fn(|cx| {
            poll_work(&mut work, cx)?;
            if is_away(&work) {
                return patience.poll_end(cx).map(Err);
            }
            match head.poll_unpin(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(response.map_err(CallError::answered)),
                // A guest that fails drops the sender before its work has ended with the reason.
                Poll::Ready(Err(_)) => {
                    end.set();
                    poll_work(&mut work, cx)?;
                    match work {
                        None => Poll::Ready(Err(CallError::NoResponse)),
                        Some(_) => patience.poll_end(cx).map(Err),
                    }
                }
                Poll::Pending => patience.poll_end(cx).map(Err),
            }
        })
        .await?;
        if let Some(place) = &mut place {
            place.has_head();
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| {
            value.to_str().ok()?.parse().ok() // Checked by wasi:http where a guest sets it.
        });
        let work = LateWork { work, end, place, guard, on_failure: Box::new(on_late_failure) };
        Ok(response.map(|body| ResponseBody::new(body, length, work, patience)))
    }
}

/// Runs the guest for as long as it has something to do now.
pub(crate) fn poll_work(work: &mut Option<Work>, cx: &mut Context<'_>) -> Result<(), CallError> {
    if let Some(Poll::Ready(result)) = work.as_mut().map(|work| work.poll_unpin(cx)) {
        *work = None;
        return result;
    }
    Ok(())
}

/// What goes on while the body of a response is read, and after it.
pub(crate) struct LateWork<G> {
    pub(crate) work: Option<Work>,
    pub(crate) end: BodyEnd,
    pub(crate) place: Option<Place>,
    pub(crate) guard: Option<G>,
    pub(crate) on_failure: Box<dyn FnOnce(CallError) + Send>,
}
