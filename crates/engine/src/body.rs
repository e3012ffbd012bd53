//! Bodies on their way into and out of a guest.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use thiserror::Error;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep, timeout},
};
use wasmtime_wasi_http::WasiBody;

use crate::{CallError, http::Work};

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

pub(crate) fn into_wasi_body(body: Body) -> WasiBody {
    body.map_err(|error| {
        tracing::debug!(error, "the request's body ended early");
        wasmtime_wasi_http::Error::HttpProtocolError
    })
    .boxed_unsync()
}

/// The body of a guest's response, which runs the guest while it is polled: nothing is read ahead,
/// so the guest goes as fast as its caller reads. Dropping it before its end stops the guest; what
/// the guest does after the end goes on in the background, within its time limit.
pub struct ResponseBody {
    body: Option<WasiBody>,
    work: Option<Work>,
    /// Runs while the caller waits for the next frame.
    silence: Option<Pin<Box<Sleep>>>,
    time: Duration,
    /// The bytes still to come, where the response says how many.
    remaining: Option<u64>,
    failed: bool,
    on_failure: Option<Box<dyn FnOnce(CallError) + Send>>,
}

impl ResponseBody {
    pub(crate) fn new(
        body: WasiBody,
        work: Option<Work>,
        time: Duration,
        on_failure: Box<dyn FnOnce(CallError) + Send>,
    ) -> Self {
        Self {
            remaining: body.size_hint().exact(),
            body: Some(body),
            work,
            silence: None,
            time,
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

    fn fail(&mut self, error: CallError) {
        self.failed = true;
        self.report(error);
    }

    fn report(&mut self, error: CallError) {
        if let Some(on_failure) = self.on_failure.take() {
            on_failure(error);
        }
    }

    /// Runs the guest, and says whether it got to its end.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(result)) = self.work.as_mut().map(|work| work.as_mut().poll(cx))
        else {
            return false;
        };
        self.work = None;
        if let Err(error) = result {
            self.fail(error);
        }
        true
    }

    fn is_complete(&self) -> bool {
        self.remaining == Some(0) || self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn finish_in_background(&mut self) {
        let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) else {
            return;
        };
        let time = self.time;
        let on_failure = self.on_failure.take();
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded in time; the instance's guard counts it"
        )]
        runtime.spawn(async move {
            let result = timeout(time, work).await.unwrap_or(Err(CallError::Deadline(time)));
            if let (Err(error), Some(on_failure)) = (result, on_failure) {
                on_failure(error);
            }
        });
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut has_run = false;
        loop {
            let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.silence = None;
                    if let (Some(remaining), Some(data)) = (&mut this.remaining, frame.data_ref()) {
                        *remaining = remaining.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.body = None;
                    this.work = None;
                    this.report(CallError::ErrorCode(error.to_string()));
                    return Poll::Ready(Some(Err(BodyError)));
                }
                Poll::Ready(None) => {
                    // A guest that trapped closes its body like one that is done.
                    this.poll_work(cx);
                    this.body = None;
                    if this.failed {
                        return Poll::Ready(Some(Err(BodyError)));
                    }
                    this.finish_in_background();
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            if has_run {
                break;
            }
            this.poll_work(cx);
            has_run = true;
        }
        let time = this.time;
        let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(time)));
        if silence.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.body = None;
        this.work = None;
        this.report(CallError::Deadline(time));
        Poll::Ready(Some(Err(BodyError)))
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(|body| body.size_hint()).unwrap_or_default()
    }
}

impl Drop for ResponseBody {
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
