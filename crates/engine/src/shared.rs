//! Instances that answer several requests at the same time.
//!
//! Each is driven by a task of its own, which ends with the instance: when it has answered as
//! often as it may, was idle for long, or failed. wasmtime can't cancel a call (wasmtime#11833), so
//! an instance in which one was given up takes no more requests.

use std::{
    future::{self, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::{
    WasiBody,
    handler::{Prepared, ProxyPre},
};

use crate::{
    CallError, Engine, InstanceState,
    http::{GuestWork, Work},
    instance::{HeadSender, Instance},
    metered::metered,
    reuse::Reuse,
    step,
};

/// The instances of one component, each for several requests at a time.
pub(crate) struct Shared {
    reuse: Reuse,
    members: Mutex<Vec<Arc<Member>>>,
}

/// An instance as those see it who call it.
struct Member {
    calls: mpsc::Sender<Call>,
    state: Mutex<State>,
    /// Something has changed that may end the instance.
    changed: Notify,
    failure: watch::Receiver<Option<Arc<CallError>>>,
}

#[derive(Default)]
struct State {
    under_way: u32,
    answered: u32,
    /// It takes no more requests.
    retired: bool,
}

struct Call {
    request: http::Request<WasiBody>,
    head: HeadSender,
}

/// What becomes of an instance that a task of its own drives.
struct Driven(Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>);

impl Future for Driven {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl GuestWork for Driven {
    fn is_away(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

/// A request's place in an instance, for as long as its response is on its way.
pub(crate) struct Place {
    member: Arc<Member>,
    has_head: bool,
}

impl Shared {
    pub(crate) fn new(reuse: Reuse) -> Self {
        Self { reuse, members: Mutex::default() }
    }

    /// Whether there is any instance.
    pub(crate) fn has_instances(&self) -> bool {
        !self.members().is_empty()
    }

    /// Sends `request` to an instance that has room, or to a new one. The result is ready when the
    /// instance has ended.
    pub(crate) fn call<T: InstanceState>(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        pre: &Arc<ProxyPre<T>>,
        open: impl FnOnce() -> Store<T>,
        request: http::Request<WasiBody>,
        head: HeadSender,
        time: Duration,
    ) -> (Work, Place) {
        let member = match self.find() {
            Some(member) => member,
            None => self.add(engine, pre, open(), time),
        };
        // The task holds the other end for as long as anything is under way, and the queue has
        // room for as many.
        let _ = member.calls.try_send(Call { request, head });
        let mut failure = member.failure.clone();
        let work = async move {
            match failure.wait_for(Option::is_some).await.as_deref() {
                // Nothing has failed: there was no instance.
                Ok(Some(error)) if matches!(**error, CallError::NoRoom) => Err(CallError::NoRoom),
                Ok(Some(error)) => Err(CallError::Instance(error.clone())),
                Ok(None) | Err(_) => Ok(()),
            }
        };
        (Box::new(Driven(Box::pin(work))), Place { member, has_head: false })
    }

    /// A place in an instance that has one.
    fn find(&self) -> Option<Arc<Member>> {
        let members = self.members();
        members.iter().find(|member| member.enter(&self.reuse)).cloned()
    }

    fn add<T: InstanceState>(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        pre: &Arc<ProxyPre<T>>,
        mut store: Store<T>,
        time: Duration,
    ) -> Arc<Member> {
        let (calls, queue) = mpsc::channel(self.reuse.calls.get() as usize);
        let (fail, failure) = watch::channel(None);
        let member = Arc::new(Member {
            calls,
            state: Mutex::new(State { under_way: 1, answered: 1, retired: false }),
            changed: Notify::new(),
            failure,
        });
        self.members().push(member.clone());
        let account = store.data_mut().budget().account().clone();
        let running = engine.running();
        let task = {
            let (shared, engine, pre, member) =
                (self.clone(), engine.clone(), pre.clone(), member.clone());
            async move {
                let drive = {
                    let (shared, member) = (shared.clone(), member.clone());
                    async move { shared.drive(&engine, &pre, store, queue, &member, time).await }
                };
                // A panic in a host call is that instance's alone.
                let result = metered(account, AssertUnwindSafe(drive).catch_unwind()).await;
                drop(running);
                shared.members().retain(|other| !Arc::ptr_eq(other, &member));
                if let Err(error) = result.unwrap_or(Err(CallError::Panicked)) {
                    fail.send_replace(Some(Arc::new(error)));
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "ends when idle; its calls are counted")]
        tokio::spawn(task);
        member
    }

    async fn drive<T: InstanceState>(
        &self,
        engine: &Engine,
        pre: &ProxyPre<T>,
        store: Store<T>,
        mut queue: mpsc::Receiver<Call>,
        member: &Member,
        time: Duration,
    ) -> Result<(), CallError> {
        let mut instance = Instance::make(engine, pre, store).await?;
        let result = tokio::select! {
            result = instance.answer_all(&mut queue) => result,
            // Outside of the guest's future, where its time is kept.
            () = member.ended(self.reuse.idle) => Ok(()),
        };
        member.state().retired = true;
        result?;
        // What the last calls left to be done.
        timeout(time, instance.finish()).await.unwrap_or(Err(CallError::Deadline(time)))
    }

    fn members(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Takes a place, where there is one.
    fn enter(&self, reuse: &Reuse) -> bool {
        let mut state = self.state();
        let has_room = !state.retired && state.under_way < reuse.calls.get();
        if has_room {
            state.under_way += 1;
            state.answered += 1;
            state.retired = state.answered >= reuse.requests.get();
        }
        has_room
    }

    /// Completes when the instance has nothing to do and will get nothing more.
    async fn ended(&self, idle: Duration) {
        loop {
            let changed = self.changed.notified();
            let (is_idle, is_retired) = {
                let state = self.state();
                (state.under_way == 0, state.retired)
            };
            if is_idle && is_retired {
                return;
            }
            if !is_idle {
                changed.await;
            } else if timeout(idle, changed).await.is_err() {
                let mut state = self.state();
                if state.under_way == 0 {
                    state.retired = true; // Under the lock: nobody can enter in between.
                    return;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The guest has answered.
    pub(crate) fn has_head(&mut self) {
        self.has_head = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.member.state();
        state.under_way -= 1;
        // Given up before it was answered: the guest goes on with it, and nobody can stop it.
        state.retired |= !self.has_head;
        drop(state);
        self.member.changed.notify_one();
    }
}

/// The next call in `queue`, unless the step is over: then it begins in the next one.
fn poll_call(queue: &mut mpsc::Receiver<Call>, cx: &mut Context<'_>) -> Poll<Option<Call>> {
    if step::is_over() && !queue.is_empty() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    queue.poll_recv(cx)
}

impl<T: InstanceState> Instance<T> {
    /// Answers what comes by `queue`, until something fails or this is dropped.
    async fn answer_all(&mut self, queue: &mut mpsc::Receiver<Call>) -> Result<(), CallError> {
        let Self { store, proxy } = self;
        let proxy = &*proxy;
        let result = store
            .run_concurrent(async |accessor| {
                let mut calls = FuturesUnordered::new();
                poll_fn(|cx| {
                    while let Poll::Ready(Some(Call { request, head })) = poll_call(queue, cx) {
                        let call = accessor.with(|mut store| {
                            store.get().begin(request.extensions());
                            Prepared::new(store.as_context_mut(), proxy, request, T::http, head)
                        });
                        match call {
                            Ok(call) => calls.push(call.run(accessor, future::pending())),
                            Err(error) => return Poll::Ready(Err(error)),
                        }
                    }
                    while let Poll::Ready(Some(result)) = calls.poll_next_unpin(cx) {
                        if let Err(error) = result {
                            return Poll::Ready(Err(error));
                        }
                    }
                    Poll::Pending
                })
                .await
            })
            .await
            .flatten();
        result.map_err(|error| CallError::failed(error, self.store.data_mut().budget()))
    }

    /// Runs what is left to do.
    async fn finish(&mut self) -> Result<(), CallError> {
        let result = self
            .store
            .run_concurrent(async |accessor| {
                poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            })
            .await;
        result.map_err(|error| CallError::failed(error, self.store.data_mut().budget()))
    }
}
