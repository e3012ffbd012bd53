//! One line in the log for each request, when its response has ended or is not wanted any more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use dhow_host::{Callee, RequestId, Revision};
use dhow_manifest::Name;
use http::{Method, Request, Response, StatusCode, Uri, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use tracing::field::display;

use super::crowd::UnderWay;

/// What is known of a request and its response. Writes the line when it is dropped.
pub(super) struct Record {
    id: RequestId,
    start: Instant,
    method: Method,
    uri: Uri,
    /// Who is to answer.
    pub(super) callee: Option<(Callee, Arc<Revision>)>,
    status: Option<StatusCode>,
    bytes: u64,
    /// What the response says that its body has.
    length: Option<u64>,
    ended: bool,
    /// Until here its connection is not idle.
    _under_way: UnderWay,
}

impl Record {
    pub(super) fn new<B>(
        id: RequestId,
        start: Instant,
        request: &Request<B>,
        under_way: UnderWay,
    ) -> Self {
        Self {
            id,
            start,
            method: request.method().clone(),
            uri: request.uri().clone(),
            callee: None,
            status: None,
            bytes: 0,
            length: None,
            ended: false,
            _under_way: under_way,
        }
    }

    /// The component that is to answer.
    pub(super) fn component(&self) -> Option<&Name> {
        self.callee.as_ref().map(|(callee, _)| callee.component())
    }

    pub(super) fn begin_response<B: Body>(&mut self, response: &Response<B>, is_refused: bool) {
        if let Some((_, revision)) = &self.callee {
            match is_refused {
                true => revision.stats().record_refused(),
                false => revision.stats().record(response.status(), self.start.elapsed()),
            }
        }
        self.status = Some(response.status());
        let length = response.headers().get(CONTENT_LENGTH);
        self.length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        self.ended = response.body().is_end_stream() || self.length == Some(0);
    }

    fn take_account<E>(&mut self, frame: &Option<Result<Frame<Bytes>, E>>) {
        match frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => {
                    self.bytes += data.len() as u64;
                    self.ended = self.length == Some(self.bytes);
                }
                None => self.ended = true, // Trailers.
            },
            None => self.ended = true,
            Some(Err(_)) => self.ended = false,
        }
    }
}

const MAX_PATH: usize = 512;

/// What programs find these lines by. They have everything as fields as well.
const TARGET: &str = "dhow_access";

impl Drop for Record {
    fn drop(&mut self) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let Self { id, method, bytes, callee, .. } = &*self;
        let tenant = callee.as_ref().map(|(callee, _)| display(callee.tenant()));
        let app = callee.as_ref().map(|(callee, _)| display(callee.app()));
        let revision = callee.as_ref().map(|(_, revision)| revision.number());
        let component = self.component().map(display);
        let time = self.start.elapsed();
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let path = self.uri.path();
        // As much as helps; the client chooses its length.
        let path = path.get(..path.floor_char_boundary(MAX_PATH)).unwrap_or(path);
        let status = self.status.map(|status| status.as_u16());
        let end = match (status, self.ended) {
            (Some(status), true) => format!(" {status} {bytes} bytes in {time:.1?}"),
            (Some(status), false) => format!(" {status} {bytes} bytes in {time:.1?}, cut off"),
            (None, _) => format!(": client gone after {time:.1?}"),
        };
        tracing::info!(
            target: TARGET,
            component,
            %id,
            tenant,
            app,
            revision,
            %method,
            path,
            status,
            bytes,
            micros,
            complete = self.ended,
            "{method} {path}{end}"
        );
    }
}

/// A body that is counted.
pub(super) struct Logged<B> {
    body: B,
    record: Record,
}

impl<B> Logged<B> {
    pub(super) fn new(body: B, record: Record) -> Self {
        Self { body, record }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Logged<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        this.record.take_account(&frame);
        this.record.ended |= this.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
