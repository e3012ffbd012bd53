//! One live instantiation of a component with an HTTP handler.

use std::{
    future,
    future::poll_fn,
    task::{Poll, ready},
};

use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::{
    WasiBody,
    handler::{Prepared, Proxy, ProxyPre},
};

use crate::{
    CallError, Engine, InstanceState, TICKS_BEFORE_YIELD, body::BodyEnd, call_error::is_no_room,
};

/// By which the head of a response reaches whoever waits for it.
pub(crate) type HeadSender =
    futures_channel::oneshot::Sender<wasmtime::Result<http::Response<WasiBody>>>;

/// An instance in a store of its own.
pub(crate) struct Instance<T: 'static> {
    pub(crate) store: Store<T>,
    pub(crate) proxy: Proxy,
}

impl<T: InstanceState> Instance<T> {
    /// Makes one in `store`. Where the pool is empty, an idle instance makes room.
    pub(crate) async fn make(
        engine: &Engine,
        pre: &ProxyPre<T>,
        mut store: Store<T>,
    ) -> Result<Self, CallError> {
        loop {
            match pre.instantiate_async(&mut store).await {
                Ok(proxy) => return Ok(Self { store, proxy }),
                Err(error) if is_no_room(&error) && engine.idle().evict_one() => {}
                Err(error) => return Err(CallError::failed(error, store.data_mut().budget())),
            }
        }
    }

    /// Makes it ready for another request, after a time in which nothing ran.
    pub(crate) fn begin_anew(&mut self) {
        self.store.set_epoch_deadline(TICKS_BEFORE_YIELD);
    }

    /// Answers one request: the head goes to `head`, the body comes while this is polled. Done
    /// when nothing of it is left to do and nobody waits for its body.
    pub(crate) async fn answer(
        &mut self,
        request: http::Request<WasiBody>,
        head: HeadSender,
        end: &BodyEnd,
    ) -> Result<(), CallError> {
        let Self { store, proxy } = self;
        let result = store
            .run_concurrent(async |accessor| {
                accessor
                    .with(|mut store| {
                        store.get().begin(request.extensions());
                        Prepared::new(store.as_context_mut(), proxy, request, T::http, head)
                    })?
                    .run(accessor, future::pending())
                    .await?;
                // The body is written by tasks that outlive the call; or by a stream of the host's,
                // which is no task, and which ends with the store.
                poll_fn(|cx| {
                    ready!(accessor.poll_no_interesting_tasks(cx));
                    if end.is_set() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                Ok(())
            })
            .await
            .flatten();
        result.map_err(|error| CallError::failed(error, self.store.data_mut().budget()))
    }
}
