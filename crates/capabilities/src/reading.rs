//! Rows and keys on their way to a guest: a stream, and a future that says how it has ended.
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

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
    task::AtomicWaker,
};
use wasmtime::{
    AsContextMut, StoreContextMut,
    component::{
        Destination, FutureReader, Lift, Lower, StreamProducer, StreamReader, StreamResult,
        VecBuffer,
    },
};

use crate::streams::Ended;

/// As many batches are kept for a reader while somebody waits for the end.
const MAX_AHEAD: usize = 16;

/// What is read, one or several at a time; after an error there is no more.
pub(crate) type Batches<T, E> = BoxStream<'static, Result<Vec<T>, E>>;

/// Gives a guest `batches`. It has ended as `dropped` says where the guest drops the stream before.
///
/// # Errors
/// When the store has no place for them.
pub(crate) fn give<T, E>(
    mut store: impl AsContextMut,
    batches: Batches<T, E>,
    dropped: Result<(), E>,
) -> wasmtime::Result<(StreamReader<T>, Ended<E>)>
where
    T: Lower + Lift + Send + Sync + 'static,
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

struct Shared<T, E> {
    state: Mutex<State<T, E>>,
    wakers: Arc<Wakers>,
}

struct State<T, E> {
    /// None when they have ended.
    batches: Option<Batches<T, E>>,
    ahead: VecDeque<Vec<T>>,
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

impl<T, E> Shared<T, E> {
    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, which is not empty.
    fn poll_next(&self, state: &mut State<T, E>) -> Poll<Option<Vec<T>>> {
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
struct Reader<T, E> {
    shared: Arc<Shared<T, E>>,
    dropped: Option<Result<(), E>>,
}

impl<T, E> Reader<T, E> {
    fn poll_batch(&self, context: &Context<'_>) -> Poll<Option<Vec<T>>> {
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

impl<T, E> Drop for Reader<T, E> {
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

impl<D, T, E> StreamProducer<D> for Reader<T, E>
where
    T: Lower + Send + Sync + 'static,
    E: Send + 'static,
{
    type Item = T;
    type Buffer = VecBuffer<T>;

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
                destination.set_buffer(batch.into());
                StreamResult::Completed
            }
            None => StreamResult::Dropped,
        }))
    }
}

/// The future.
struct End<T, E> {
    shared: Arc<Shared<T, E>>,
}

impl<T, E> Future for End<T, E> {
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

    fn reading(batches: Vec<Result<Vec<u8>, &'static str>>) -> (Reader<u8, &'static str>, Ended) {
        let batches = Some(stream::iter(batches).boxed());
        let state = State { batches, ahead: VecDeque::new(), ended: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), wakers: Arc::default() });
        (Reader { shared: shared.clone(), dropped: Some(Err("unread")) }, End { shared })
    }

    type Ended = End<u8, &'static str>;

    fn end(ended: &mut Ended) -> Poll<Result<(), &'static str>> {
        let mut context = Context::from_waker(task::Waker::noop());
        Pin::new(ended).poll(&mut context).map(|end| end.unwrap())
    }

    fn next(reader: &Reader<u8, &'static str>) -> Poll<Option<Vec<u8>>> {
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
