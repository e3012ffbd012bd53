//! Responses, and the connections that they come by.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use dhow_engine::Paced;
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor as _};
use hyper_util::rt::TokioExecutor;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};
use wasmtime_wasi_http::Error;

use super::{
    pool::{Http1, Pool},
    target::Target,
};
use crate::patience::{Patience, poll_frame_of};

/// A connection of HTTP/1.1 in use, which goes back to its pool when it can be used again.
pub(super) struct Lent {
    pool: Arc<Pool>,
    target: Target,
    /// Until it has gone back.
    connection: Option<Http1>,
}

impl Lent {
    pub(super) fn new(pool: &Arc<Pool>, target: &Target, connection: Http1) -> Self {
        Self { pool: pool.clone(), target: target.clone(), connection: Some(connection) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // What is kept is watched by a task, and this may be dropped outside of the runtime.
        if connection.sender.is_closed() || Handle::try_current().is_err() {
            return;
        }
        if connection.sender.is_ready() {
            return self.pool.put(&self.target, connection);
        }
        // Where a response was read to its end that takes a moment. Where it was not, the rest of it
        // may be there and skipped; if not, the connection ends.
        let (pool, target) = (self.pool.clone(), self.target.clone());
        TokioExecutor::new().execute(async move {
            if connection.sender.ready().await.is_ok() {
                pool.put(&target, connection);
            }
        });
    }
}

/// The body of a response, which fails where it is silent for too long.
pub(super) struct Received {
    // Dropped before the connection, which may then skip what is left of it.
    body: Incoming,
    /// Until the body has ended.
    source: Option<Source>,
    /// How long it may be silent.
    limit: Duration,
    pace: Paced,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Where a response comes from.
pub(super) enum Source {
    Http1(Lent),
    /// A connection that is shared.
    Http2(Patience),
}

impl Source {
    fn patience(&mut self) -> Option<&mut Patience> {
        match self {
            Self::Http1(lent) => {
                lent.connection.as_mut().map(|connection| &mut connection.patience)
            }
            Self::Http2(patience) => Some(patience),
        }
    }
}

impl Received {
    pub(super) fn new(body: Incoming, source: Source, limit: Duration) -> Self {
        let has_ended = body.is_end_stream();
        let source = Some(source).filter(|_| !has_ended);
        Self { body, source, limit, pace: Paced::default(), _permit: None }
    }

    /// Keeps `permit` for as long as it is there.
    pub(super) fn with(self, permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Some(permit), ..self }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let patience = this.source.as_mut().and_then(Source::patience);
        let (body, limit) = (&mut this.body, this.limit);
        let frame = ready!(this.pace.poll(cx, |cx| poll_frame_of(body, patience, limit, cx)));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            this.source = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
