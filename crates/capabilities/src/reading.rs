//! Rows, keys and content on their way to a guest: a stream, and a future that says how it has ended.
//!
//! Guests may ask how it has ended before they have read everything: Spin's own SDK does, for a
//! statement that gives one row or none. So whoever waits for the end has the rest read ahead, as far as
//! is kept.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
    task::AtomicWaker,
};
use wasmtime::{
    AsContextMut, StoreContextMut,
    component::{
        Destination, FutureReader, Lift, Lower, StreamProducer, StreamReader, StreamResult,
        VecBuffer, WriteBuffer,
    },
};

/// How a stream has ended.
pub(crate) type Ended<E> = FutureReader<Result<(), E>>;

/// As many batches are kept for a reader while somebody waits for the end.
const MAX_AHEAD: usize = 16;

/// What is read, one or several at a time; after an error there is no more.
pub(crate) type Batches<T, E> = Pieces<Vec<T>, E>;

/// The same in whatever form the items come together.
pub(crate) type Pieces<P, E> = BoxStream<'static, Result<P, E>>;

/// Items that come together.
pub(crate) trait Piece: Send + 'static {
    /// One of them.
    type Item: Lower + Lift + Send + Sync + 'static;
    /// As a guest is given them.
    type Buffer: WriteBuffer<Self::Item> + Default;

    /// Whether there is none.
    fn is_empty(&self) -> bool;

    /// For the guest.
    fn into_buffer(self) -> Self::Buffer;
}

impl<T: Lower + Lift + Send + Sync + 'static> Piece for Vec<T> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn into_buffer(self) -> VecBuffer<T> {
        self.into()
    }
}

impl Piece for Bytes {
    type Item = u8;
    type Buffer = Self;

    fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    fn into_buffer(self) -> Self {
        self
    }
}

/// Gives a guest `batches`. It has ended as `dropped` says where the guest drops the stream before.
///
/// # Errors
/// When the store has no place for them.
pub(crate) fn give<P, E>(
    mut store: impl AsContextMut,
    batches: Pieces<P, E>,
    dropped: Result<(), E>,
) -> wasmtime::Result<(StreamReader<P::Item>, Ended<E>)>
where
    P: Piece,
    E: Lower + Lift + Send + Sync + 'static,
{
    let state = State { batches: Some(batches), ahead: VecDeque::new(), ended: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), wakers: Arc::default() });
    let reader = Reader { shared: shared.clone(), dropped: Some(dropped) };
    let stream = StreamReader::new(&mut store, reader)?;
    let end = FutureReader::new(&mut store, End { shared })?;
    Ok((stream, end))
}

/// `batches`, with `kept` there until they end.
pub(crate) fn keeping<T, E, K>(batches: Batches<T, E>, kept: K) -> Batches<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
    K: Send + 'static,
{
    let next = |(mut batches, kept): (Batches<T, E>, K)| async move {
        let batch = batches.next().await?;
        Some((batch, (batches, kept)))
    };
    stream::unfold((batches, kept), next).boxed()
}

struct Shared<P, E> {
    state: Mutex<State<P, E>>,
    wakers: Arc<Wakers>,
}

struct State<P, E> {
    /// None when they have ended.
    batches: Option<Pieces<P, E>>,
    ahead: VecDeque<P>,
    ended: Option<Result<(), E>>,
}

/// Both who may wait: for what comes next, and for the end.
#[derive(Default)]
struct Wakers {
    reader: AtomicWaker,
    end: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.reader.wake();
        self.end.wake();
    }
}

impl<P, E> Shared<P, E> {
    fn state(&self) -> MutexGuard<'_, State<P, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Piece, E> Shared<P, E> {
    /// The next batch, which is not empty.
    fn poll_next(&self, state: &mut State<P, E>) -> Poll<Option<P>> {
        let waker = Waker::from(self.wakers.clone());
        let mut context = Context::from_waker(&waker);
        let Some(batches) = &mut state.batches else { return Poll::Ready(None) };
        let end = loop {
            match ready!(batches.poll_next_unpin(&mut context)) {
                Some(Ok(batch)) if batch.is_empty() => {}
                Some(Ok(batch)) => return Poll::Ready(Some(batch)),
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        };
        state.batches = None;
        state.ended = Some(end);
        Poll::Ready(None)
    }
}

/// The stream.
struct Reader<P, E> {
    shared: Arc<Shared<P, E>>,
    dropped: Option<Result<(), E>>,
}

impl<P: Piece, E> Reader<P, E> {
    fn poll_batch(&self, context: &Context<'_>) -> Poll<Option<P>> {
        let wakers = &self.shared.wakers;
        wakers.reader.register(context.waker());
        let mut state = self.shared.state();
        let next = match state.ahead.pop_front() {
            Some(batch) => Some(batch),
            None => ready!(self.shared.poll_next(&mut state)),
        };
        wakers.end.wake();
        Poll::Ready(next)
    }
}

impl<P, E> Drop for Reader<P, E> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ahead.clear();
        if state.batches.take().is_some() {
            state.ended = self.dropped.take();
        }
        drop(state);
        self.shared.wakers.end.wake();
    }
}

impl<D, P: Piece, E: Send + 'static> StreamProducer<D> for Reader<P, E> {
    type Item = P::Item;
    type Buffer = P::Buffer;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let next = match self.poll_batch(context) {
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            polled => ready!(polled),
        };
        Poll::Ready(Ok(match next {
            Some(batch) => {
                destination.set_buffer(batch.into_buffer());
                StreamResult::Completed
            }
            None => StreamResult::Dropped,
        }))
    }
}

/// The future.
struct End<P, E> {
    shared: Arc<Shared<P, E>>,
}

impl<P: Piece, E> Future for End<P, E> {
    type Output = wasmtime::Result<Result<(), E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Shared { wakers, .. } = &*self.shared;
        wakers.end.register(context.waker());
        let mut state = self.shared.state();
        while state.batches.is_some() {
            if state.ahead.len() >= MAX_AHEAD {
                return Poll::Pending;
            }
            let next = ready!(self.shared.poll_next(&mut state));
            state.ahead.extend(next);
            wakers.reader.wake();
        }
        Poll::Ready(Ok(state.ended.take().unwrap_or(Ok(()))))
    }
}

#[cfg(test)]
mod tests {
    use std::task;

    use super::*;

    fn reading(
        batches: Vec<Result<Vec<u8>, &'static str>>,
    ) -> (Reader<Vec<u8>, &'static str>, Asked) {
        let batches = Some(stream::iter(batches).boxed());
        let state = State { batches, ahead: VecDeque::new(), ended: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), wakers: Arc::default() });
        (Reader { shared: shared.clone(), dropped: Some(Err("unread")) }, End { shared })
    }

    type Asked = End<Vec<u8>, &'static str>;

    fn end(ended: &mut Asked) -> Poll<Result<(), &'static str>> {
        let mut context = Context::from_waker(task::Waker::noop());
        Pin::new(ended).poll(&mut context).map(|end| end.unwrap())
    }

    fn next(reader: &Reader<Vec<u8>, &'static str>) -> Poll<Option<Vec<u8>>> {
        reader.poll_batch(&Context::from_waker(task::Waker::noop()))
    }

    #[test]
    fn read_and_then_asked() {
        let (reader, mut ended) = reading(vec![Ok(vec![1]), Ok(vec![]), Ok(vec![2])]);
        assert_eq!(next(&reader), Poll::Ready(Some(vec![1])));
        assert_eq!(next(&reader), Poll::Ready(Some(vec![2])));
        assert_eq!(next(&reader), Poll::Ready(None));
        assert_eq!(end(&mut ended), Poll::Ready(Ok(())));
    }

    #[test]
    fn asked_before_it_is_read() {
        let (reader, mut ended) = reading(vec![Ok(vec![1]), Ok(vec![2]), Err("broken")]);
        assert_eq!(next(&reader), Poll::Ready(Some(vec![1])));
        assert_eq!(end(&mut ended), Poll::Ready(Err("broken")));
        assert_eq!(next(&reader), Poll::Ready(Some(vec![2])));
        assert_eq!(next(&reader), Poll::Ready(None));
    }

    #[test]
    fn too_much_to_keep_has_to_be_read_or_dropped() {
        let (reader, mut ended) = reading((0..100).map(|n| Ok(vec![n])).collect());
        assert_eq!(end(&mut ended), Poll::Pending);
        assert_eq!(next(&reader), Poll::Ready(Some(vec![0])));
        assert_eq!(end(&mut ended), Poll::Pending);
        drop(reader);
        assert_eq!(end(&mut ended), Poll::Ready(Err("unread")));
    }
}
