//! One line in the log for each request, when its response has ended.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use dhow_host::RequestId;
use dhow_manifest::Name;
use http::{Method, Request, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use tracing::field::display;

/// What is known of a request and its response.
pub(super) struct Record {
    id: RequestId,
    start: Instant,
    method: Method,
    uri: Uri,
    pub(super) component: Option<Name>,
    pub(super) status: StatusCode,
}

impl Record {
    pub(super) fn new<B>(id: RequestId, start: Instant, request: &Request<B>) -> Self {
        Self {
            id,
            start,
            method: request.method().clone(),
            uri: request.uri().clone(),
            component: None,
            status: StatusCode::OK,
        }
    }
}

/// A body that writes the line when it is dropped.
pub(super) struct Logged<B: Body> {
    body: B,
    record: Record,
    bytes: u64,
    ended: bool,
}

impl<B: Body> Logged<B> {
    pub(super) fn new(body: B, record: Record) -> Self {
        Self { ended: body.is_end_stream(), body, record, bytes: 0 }
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
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.ended = this.body.is_end_stream() || this.body.size_hint().exact() == Some(0);
            }
            Poll::Ready(None) => this.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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

impl<B: Body> Drop for Logged<B> {
    fn drop(&mut self) {
        let Record { id, start, method, uri, component, status } = &self.record;
        let component = component.as_ref().map(display);
        let time = start.elapsed();
        let status = status.as_u16();
        let path = uri.path();
        let bytes = self.bytes;
        let cut = if self.ended { "" } else { ", cut off" };
        tracing::info!(component, %id, "{method} {path} {status} {bytes} bytes in {time:.1?}{cut}");
    }
}
