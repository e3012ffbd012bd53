//! The clock that interrupts guests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

/// How long a guest computes before others get their turn. Shorter is fairer and costs the guest
/// more: at 1 ms a neighbour of four spinning guests on two cores waits 21 ms at the median, at
/// 10 ms 71 ms.
const TICK: Duration = Duration::from_millis(1);

/// Advances the engine's epoch once a [`TICK`] while any instance lives, from a thread of its own: a
/// task could be kept waiting by the very guests that it is to interrupt.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &wasmtime::Engine) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = shared.clone();
            let engine = engine.weak();
            move || tick(&shared, &engine)
        });
        Self { shared, thread: thread.thread().clone() }
    }

    /// Keeps the ticker going until it is dropped.
    pub(crate) fn running(&self) -> Running {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Running(self.shared.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

#[expect(clippy::disallowed_methods, reason = "the one thread whose work is to wait")]
fn tick(shared: &Shared, engine: &wasmtime::EngineWeak) {
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) == 0 {
            // Whoever starts after this load unparks the thread, which makes this return at once.
            thread::park();
            continue;
        }
        thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}

/// An instance lives.
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
