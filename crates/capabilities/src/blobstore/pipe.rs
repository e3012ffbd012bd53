//! Bytes on their way from a guest to a store.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::store::Error;

/// As many bytes wait for their reader: also of what is written before it is known where to.
pub(super) const CAPACITY: usize = 256 << 10;

/// A buffer between one writer and one reader. It ends when somebody says so: a pipe that is only
/// dropped was cut off.
#[derive(Default)]
pub(super) struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: BytesMut,
    is_read: bool,
    is_ended: bool,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Why a pipe takes no more, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// Its reader is gone.
    Closed,
    /// It is full, and has no reader yet.
    Unread,
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its one reader.
    pub(super) fn read(self: &Arc<Self>) -> Reader {
        let mut state = self.state();
        state.is_read = true;
        wake(&mut state.writer);
        Reader(self.clone())
    }

    /// How many bytes it takes at once; 0 where the reader has to be waited for.
    pub(super) fn room(&self) -> Result<usize, Stuck> {
        let state = self.state();
        match CAPACITY.saturating_sub(state.bytes.len()) {
            _ if state.is_closed => Err(Stuck::Closed),
            0 if !state.is_read => Err(Stuck::Unread),
            room => Ok(room),
        }
    }

    /// Waits until it takes something, or never will.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        // Before it is looked at, so that nothing happens in between.
        self.state().writer = Some(context.waker().clone());
        match self.room() {
            Ok(0) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Takes as many of `bytes` as there is room for, and says how many.
    pub(super) fn write(&self, bytes: &[u8]) -> usize {
        let room = self.room().unwrap_or(0);
        let taken = bytes.get(..room).unwrap_or(bytes);
        let mut state = self.state();
        state.bytes.extend_from_slice(taken);
        wake(&mut state.reader);
        taken.len()
    }

    /// Nothing more comes, and all that came was meant.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_ended = true;
        wake(&mut state.reader);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The end from which bytes are read. Dropping it closes the pipe.
pub(super) struct Reader(Arc<Pipe>);

impl Stream for Reader {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        if !state.bytes.is_empty() {
            let bytes = state.bytes.split().freeze();
            wake(&mut state.writer);
            return Poll::Ready(Some(Ok(bytes)));
        }
        if state.is_ended {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_closed = true;
        wake(&mut state.writer);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    #[test]
    fn it_holds_so_much_and_ends_when_told() {
        let pipe = Arc::new(Pipe::default());
        assert_eq!(pipe.write(&vec![1; CAPACITY + 1]), CAPACITY);
        assert_eq!(pipe.room(), Err(Stuck::Unread));
        let mut reader = pipe.read();
        assert_eq!(pipe.room(), Ok(0));
        let read = reader.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(read.len(), CAPACITY);
        assert_eq!(pipe.room(), Ok(CAPACITY));
        assert!(reader.next().now_or_never().is_none());
        pipe.end();
        assert!(reader.next().now_or_never().unwrap().is_none());
        drop(reader);
        assert_eq!(pipe.room(), Err(Stuck::Closed));
    }
}
