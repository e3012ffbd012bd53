//! Calls by name, from one component of an app to another: each is an invocation of its own, with the
//! instance, the limits and the place that a request from outside would have.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Instant};

use dhow_capabilities::{Calling, Depth, HttpError, Neighbours, WasiBody};
use dhow_engine::CallError;
use dhow_manifest::Name;
use dhow_telemetry::span::{self, Answerer, Instrument as _};
use futures_channel::oneshot;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;
use tracing::Span;

use crate::{Core, Failure, Invocation, LiveApp, RequestId, ResponseBody};

impl Neighbours for LiveApp {
    fn call(self: Arc<Self>, name: &Name, depth: Depth, request: Request<WasiBody>) -> Calling {
        let Some(callee) = self.neighbour(name) else {
            return Box::pin(async { Err(HttpError::DestinationNotFound) });
        };
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.extensions_mut().insert(depth);
        let core = self.core.clone();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let span = span::request(&method, uri.path(), request.headers_mut());
        let (answer, answered) = oneshot::channel();
        // In a task of its own: the caller's instance polls what it waits for only between steps of
        // its own, and the other should not wait for those, nor have them count as its time.
        let id = RequestId::next();
        let answerer = Answerer {
            tenant: callee.tenant(),
            app: callee.app(),
            revision: None,
            component: callee.component(),
        };
        span::is_for(&span, &id, answerer);
        let invocation = Invocation { id, callee, request };
        let answering = async move { core.answer(invocation, answer).await }.instrument(span);
        // It has some kilobytes, which Tokio moves several times, and once more when it is done.
        self.core.invocations.spawn(Box::pin(answering));
        Box::pin(async { answered.await.unwrap_or(Err(HttpError::ConnectionTerminated)) })
    }
}

type Answer = oneshot::Sender<Result<Response<WasiBody>, HttpError>>;

/// Pieces of a body that are on their way from one instance to the other.
const PIECES: usize = 1;
/// Pieces that are handed over with the head where they are there. Few bodies have more.
const AT_ONCE: usize = 4;

impl Core {
    /// Runs `invocation` until its response is read, or nobody waits for it.
    async fn answer(&self, invocation: Invocation, mut answer: Answer) {
        let (name, id) = (invocation.callee.component().clone(), invocation.id);
        let start = Instant::now();
        let response = tokio::select! {
            response = self.dispatch(invocation) => response,
            () = answer.cancellation() => return,
        };
        let time = start.elapsed();
        match response {
            Ok(response) => {
                span::answered(&Span::current(), response.status());
                let (head, mut body) = response.into_parts();
                tracing::debug!(component = %name, %id, "called by name: {} in {time:.1?}", head.status);
                let (pieces, is_whole) = at_once(&mut body).await;
                let pieces = stream::iter(pieces);
                if is_whole {
                    let body = StreamBody::new(pieces).boxed_unsync();
                    let _ = answer.send(Ok(Response::from_parts(head, body)));
                    return;
                }
                let (sender, mut later) = mpsc::channel(PIECES);
                let later = stream::poll_fn(move |cx| later.poll_recv(cx));
                let read = StreamBody::new(pieces.chain(later)).boxed_unsync();
                if answer.send(Ok(Response::from_parts(head, read))).is_ok() {
                    copy(body, sender).await;
                }
            }
            Err(failure) => {
                span::failed(&Span::current());
                tracing::error!(component = %name, %id, "called by name: {failure}");
                let _ = answer.send(Err(error_of(&failure)));
            }
        }
    }
}

type Piece = Result<Frame<bytes::Bytes>, HttpError>;

fn piece<E>(frame: Result<Frame<bytes::Bytes>, E>) -> Piece {
    // Why it ended is in the log.
    frame.map_err(|_| HttpError::HttpResponseIncomplete)
}

/// What there is of `body` without waiting, and whether that is all of it.
async fn at_once(body: &mut ResponseBody) -> (Vec<Piece>, bool) {
    let mut pieces = Vec::new();
    while pieces.len() < AT_ONCE {
        // Whoever waits for the rest is woken for it: it was polled by the same task.
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await {
            Poll::Ready(Some(frame)) => pieces.push(piece(frame)),
            Poll::Ready(None) => return (pieces, true),
            Poll::Pending => break,
        }
    }
    (pieces, false)
}

async fn copy(mut body: ResponseBody, to: mpsc::Sender<Piece>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = to.closed() => return,
        };
        let Some(frame) = frame else { return };
        if to.send(piece(frame)).await.is_err() {
            return;
        }
    }
}

/// What the caller is told: what a client of HTTP would be, where a status says it to others.
fn error_of(failure: &Failure) -> HttpError {
    match failure {
        Failure::Busy(_)
        | Failure::Full(_)
        | Failure::AppBusy(..)
        | Failure::AppRate(..)
        | Failure::TenantBusy(..)
        | Failure::TenantRate(..) => HttpError::ConnectionLimitReached,
        Failure::Call(CallError::NoRoom) => HttpError::ConnectionLimitReached,
        Failure::Call(CallError::Deadline(_)) => HttpError::HttpResponseTimeout,
        Failure::Load(_) => HttpError::DestinationUnavailable,
        Failure::Call(_) => HttpError::ConnectionTerminated,
    }
}
