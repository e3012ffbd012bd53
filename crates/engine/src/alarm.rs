//! Who is woken for a guest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// What wakes whoever waits for the work. Who that is may change, and a call while it is polled means that it has to
/// be polled again.
#[derive(Default)]
pub(crate) struct Alarm {
    rang: AtomicBool,
    task: AtomicWaker,
}

impl Alarm {
    /// From here on it has not rung, and wakes nobody who may be polling.
    pub(crate) fn set(&self) {
        self.task.take();
        self.rang.store(false, SeqCst);
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.rang.load(SeqCst)
    }

    /// It wakes `waker` when it rings from here on.
    pub(crate) fn is_for(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// It wakes `waker`, at once where it has rung.
    pub(crate) fn wakes(&self, waker: &Waker) {
        self.is_for(waker);
        if self.has_rung() {
            waker.wake_by_ref();
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, SeqCst);
        self.task.wake();
    }
}
