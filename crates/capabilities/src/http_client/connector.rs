//! How connections for outbound HTTP are opened: by the egress door, and counted.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{permit, target::Target};
use crate::{
    cork::Corked,
    egress::{Egress, EgressError},
};

/// Opens connections by the egress door, so many at a time.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) egress: Arc<Egress>,
    /// The app's.
    pub(super) permits: Arc<Semaphore>,
}

/// A connection that counts among its app's.
pub(super) struct Counted {
    stream: TokioIo<Corked<TcpStream>>,
    _permit: OwnedSemaphorePermit,
}

impl hyper::rt::Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Counted, EgressError>> + Send>>;

impl tower_service::Service<Uri> for Connector {
    type Response = Counted;
    type Error = EgressError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let Self { egress, permits } = self.clone();
        Box::pin(async move {
            let target = Target::of(&uri).ok_or(EgressError::NotFound)?;
            let permit = permit(&permits).await.ok_or(EgressError::TooMany)?;
            let stream = egress.connect(target.host(), target.port()).await?;
            Ok(Counted { stream: TokioIo::new(Corked::new(stream)), _permit: permit })
        })
    }
}
