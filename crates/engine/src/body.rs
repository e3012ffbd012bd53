//! Bodies on their way into and out of a guest.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use thiserror::Error;
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep, timeout},
};
use wasmtime_wasi_http::WasiBody;

use crate::{
    CallError,
    http::{LateWork, Work, is_away, poll_work},
    shared::Place,
};

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// The body of a request as the guest reads it; `upload` is told how it goes.
pub(crate) fn into_wasi_body(body: Body, upload: Upload) -> WasiBody {
    let body = body.map_err(|error| {
        tracing::debug!(error, "the request's body ended early");
        wasmtime_wasi_http::Error::HttpProtocolError
    });
    Watched { body, upload }.boxed_unsync()
}

/// How the request's body comes in, shared by the body and by who keeps the time.
#[derive(Clone, Default)]
pub(crate) struct Upload(Arc<AtomicU8>);

const IDLE: u8 = 0;
/// The guest waits for the client to send.
const AWAITED: u8 = 1;
/// The client has sent something since the last look.
const MOVED: u8 = 2;

struct Watched<B> {
    body: B,
    upload: Upload,
}

impl<B: http_body::Body + Unpin> http_body::Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(_) => self.upload.0.store(MOVED, Relaxed),
            // What has moved before has moved.
            Poll::Pending => {
                let _ = self.upload.0.compare_exchange(IDLE, AWAITED, Relaxed, Relaxed);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether nobody waits for more of the response's body: shared by the body and by the work that
/// writes it. Whoever sets it polls the work next.
#[derive(Clone, Default)]
pub(crate) struct BodyEnd(Arc<AtomicBool>);

impl BodyEnd {
    pub(crate) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// How long somebody may be kept waiting. The time begins anew whenever the client has sent a
/// piece of the request: a slow upload is no fault of the guest's.
pub(crate) struct Patience {
    time: Duration,
    sleep: Pin<Box<Sleep>>,
    upload: Upload,
}

impl Patience {
    pub(crate) fn new(time: Duration, upload: Upload) -> Self {
        Self { time, sleep: Box::pin(sleep(time)), upload }
    }

    pub(crate) fn begin_anew(&mut self) {
        self.sleep.as_mut().reset(Instant::now() + self.time);
    }

    /// Ready, with who is to blame, when it is at its end.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        loop {
            std::task::ready!(self.sleep.as_mut().poll(cx));
            match self.upload.0.swap(IDLE, Relaxed) {
                MOVED => self.begin_anew(),
                AWAITED => return Poll::Ready(CallError::SilentClient(self.time)),
                _ => return Poll::Ready(CallError::Deadline(self.time)),
            }
        }
    }
}

/// The body of a guest's response, which runs the guest while it is polled: nothing is read ahead,
/// so the guest goes as fast as its caller reads. Dropping it before its end stops the guest; what
/// the guest does after the end goes on in the background, within its time limit.
///
/// `G` is dropped after the last of the guest's work.
pub struct ResponseBody<G: Send + 'static> {
    body: Option<WasiBody>,
    work: Option<Work>,
    end: BodyEnd,
    place: Option<Place>,
    /// Where the work does not have it.
    guard: Option<G>,
    patience: Patience,
    /// Whether `patience` runs: the caller waits for the next frame.
    is_awaited: bool,
    /// The bytes still to come, where the response says how many.
    remaining: Option<u64>,
    /// Whether trailers have passed, or the body itself has ended.
    ended: bool,
    failed: bool,
    on_failure: Option<Box<dyn FnOnce(CallError) + Send>>,
}

impl<G: Send + 'static> ResponseBody<G> {
    pub(crate) fn new(
        body: WasiBody,
        content_length: Option<u64>,
        LateWork { work, end, place, guard, on_failure }: LateWork<G>,
        patience: Patience,
    ) -> Self {
        Self {
            remaining: body.size_hint().exact().or(content_length),
            body: Some(body),
            work,
            end,
            place,
            guard,
            patience,
            is_awaited: false,
            ended: false,
            failed: false,
            on_failure: Some(on_failure),
        }
    }

    /// Closes the body unread, as for a HEAD request. The guest sees that nobody reads, and may
    /// finish what it does.
    pub fn discard(mut self) {
        self.body = None;
        self.finish_in_background();
    }

    /// Ends it all: the caller sees that the body is not whole.
    fn fail(&mut self, error: CallError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.report(error);
        self.body = None;
        self.work = None;
        Poll::Ready(Some(Err(BodyError)))
    }

    fn report(&mut self, error: CallError) {
        self.failed = true;
        if let Some(on_failure) = self.on_failure.take() {
            on_failure(error);
        }
    }

    /// Runs the guest for as long as it has something to do now.
    fn poll_work(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = poll_work(&mut self.work, cx) {
            self.report(error);
        }
    }

    /// Nobody waits for more of the body, and the guest sees it.
    fn finish(&mut self, cx: &mut Context<'_>) {
        self.end.set();
        if let Some(work) = &mut self.work {
            work.finish();
        }
        self.poll_work(cx);
    }

    fn is_complete(&self) -> bool {
        self.ended
            || self.remaining == Some(0)
            || self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn take_account(&mut self, frame: &Frame<Bytes>) {
        self.is_awaited = false;
        match frame.data_ref() {
            Some(data) => {
                if let Some(remaining) = &mut self.remaining {
                    *remaining = remaining.saturating_sub(data.len() as u64);
                }
            }
            None => self.ended = true,
        }
    }

    fn finish_in_background(&mut self) {
        self.end.set();
        if self.place.take().is_some() {
            self.work = None; // The instance goes on by itself.
            self.guard = None;
        }
        let Some(work) = self.work.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let time = self.patience.time;
        let on_failure = self.on_failure.take();
        #[expect(clippy::disallowed_methods, reason = "bounded in time, and counted by its guard")]
        runtime.spawn(async move {
            let result = timeout(time, work).await.unwrap_or(Err(CallError::Deadline(time)));
            if let (Err(error), Some(on_failure)) = (result, on_failure) {
                on_failure(error);
            }
        });
    }
}

impl<G: Send + Unpin + 'static> http_body::Body for ResponseBody<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut has_run = false;
        loop {
            if is_away(&this.work) {
                this.poll_work(cx);
                has_run = true;
                if is_away(&this.work) {
                    break;
                }
            }
            let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.take_account(&frame);
                    if this.is_complete() {
                        // Often the guest needs one more turn to be done with it all.
                        this.finish(cx);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    return this.fail(CallError::ErrorCode(format!("{error:?}")));
                }
                Poll::Ready(None) => {
                    // A guest that trapped closes its body like one that is done.
                    this.finish(cx);
                    this.body = None;
                    if this.failed {
                        return Poll::Ready(Some(Err(BodyError)));
                    }
                    this.finish_in_background();
                    return Poll::Ready(None);
                }
                Poll::Pending if has_run => break,
                Poll::Pending => {
                    this.poll_work(cx);
                    has_run = true;
                }
            }
        }
        if !std::mem::replace(&mut this.is_awaited, true) {
            this.patience.begin_anew();
        }
        let error = std::task::ready!(this.patience.poll_end(cx));
        this.fail(error)
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(|body| body.size_hint()).unwrap_or_default()
    }
}

impl<G: Send + 'static> Drop for ResponseBody<G> {
    fn drop(&mut self) {
        if !self.failed && self.is_complete() {
            self.body = None;
            self.finish_in_background();
        }
    }
}

/// The guest failed while it wrote the body; the connection's other end must see that the body is
/// not whole. The reason is in the log.
#[derive(Debug, Clone, Copy, Error)]
#[error("the response was cut off")]
pub struct BodyError;
