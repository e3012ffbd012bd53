//! What is written to several connections is written together.
//!
//! Writing to a socket whose other end sleeps wakes somebody, on another core or beyond the
//! network, and the caches of this core are cold after that. Where several connections have
//! something at the same time, they are therefore all worked on first, and then written to, one after
//! the other: what reads, waits with its next write until the other tasks that are ready have had
//! their turn. With nothing else to do that is at once. A connection that several share, as those to
//! Redis are, has the requests of all of them in one write then.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose first write after a read waits for a turn of the runtime.
#[derive(Debug)]
pub struct Corked<S> {
    stream: S,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// What is written goes out.
    Open,
    /// Something was read.
    HasRead,
    /// A write waits for its turn.
    Waits,
}

impl<S> Corked<S> {
    /// `stream`, of which nothing was read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, state: State::Open }
    }

    /// Whether a write has to wait, for this once.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.state {
            State::HasRead => {
                self.state = State::Waits;
                // To the end of the run queue: this task is polled again after the others.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::Open | State::Waits => {
                self.state = State::Open;
                Poll::Ready(())
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() && self.state == State::Open {
            self.state = State::HasRead;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for Corked<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
