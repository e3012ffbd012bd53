//! What guests read as a stream, with how it has ended as a future:
//! `tuple<stream<item>, future<result<_, error>>>`.

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{StreamExt as _, stream::BoxStream};
use tokio::sync::oneshot;
use wasmtime::{
    StoreContextMut,
    component::{
        Accessor, Destination, FutureReader, HasData, Lift, Lower, StreamProducer, StreamReader,
        StreamResult, WriteBuffer,
    },
};

/// How a stream has ended.
pub(crate) type Ended<E> = FutureReader<Result<(), E>>;

/// Gives the guest `items` as a stream, several at a time, and how it ends as a future: `unread`,
/// where the guest drops the stream before its end.
pub(crate) fn stream<T, H, I, B, E>(
    accessor: &Accessor<T, H>,
    items: BoxStream<'static, Result<B, E>>,
    unread: E,
) -> wasmtime::Result<(StreamReader<I>, Ended<E>)>
where
    T: Send,
    H: HasData,
    I: Lower + Lift + Send + Sync + 'static,
    B: WriteBuffer<I> + Default,
    E: Lower + Lift + Send + Sync + 'static,
{
    accessor.with(|mut store| {
        let (end, ended) = oneshot::channel();
        let producer = Producer { items, end: Some(end), item: PhantomData };
        let items = StreamReader::new(&mut store, producer)?;
        let ended = FutureReader::new(&mut store, async move {
            Ok::<_, wasmtime::Error>(ended.await.unwrap_or(Err(unread)))
        })?;
        Ok((items, ended))
    })
}

struct Producer<I, B, E> {
    items: BoxStream<'static, Result<B, E>>,
    end: Option<oneshot::Sender<Result<(), E>>>,
    item: PhantomData<fn() -> I>,
}

impl<D, I, B, E> StreamProducer<D> for Producer<I, B, E>
where
    I: 'static,
    B: WriteBuffer<I> + Default,
    E: Send + 'static,
{
    type Item = I;
    type Buffer = B;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        loop {
            let received = match self.items.poll_next_unpin(context) {
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                polled => ready!(polled),
            };
            let result = match received {
                Some(Ok(items)) if items.remaining().is_empty() => continue,
                Some(Ok(items)) => {
                    destination.set_buffer(items);
                    return Poll::Ready(Ok(StreamResult::Completed));
                }
                Some(Err(error)) => Err(error),
                None => Ok(()),
            };
            if let Some(end) = self.end.take() {
                let _ = end.send(result);
            }
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
    }
}
