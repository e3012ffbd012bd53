//! The clock that interrupts guests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::schedule::Schedule;

/// How long a guest computes before others get their turn. Shorter is fairer and costs the guest
/// more: at 1 ms a neighbour of four spinning guests on two cores waits 21 ms at the median, at
/// 10 ms 71 ms.
const TICK: Duration = Duration::from_millis(1);

/// How long the ticker goes on when nothing runs any more. Waking it costs a system call and a
/// switch of threads, which every request would pay for if it slept between them.
const LINGER: Duration = Duration::from_millis(200);

/// Advances the engine's epoch once a [`TICK`] while any instance lives, and sees to the turns that are
/// not used, from a thread of its own: a task could be kept waiting by the very guests that it is to interrupt.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    /// How many have ever run, as far as the ticker needs to see whether any has since.
    started: AtomicUsize,
    is_asleep: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &wasmtime::Engine, schedule: &Arc<Schedule>) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = shared.clone();
            let (engine, schedule) = (engine.weak(), schedule.clone());
            move || tick(&shared, &engine, &schedule)
        });
        Self { shared, thread: thread.thread().clone() }
    }

    /// Keeps the ticker going until it is dropped.
    pub(crate) fn running(&self) -> Running {
        self.shared.started.fetch_add(1, Ordering::Relaxed);
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.is_asleep.load(Ordering::SeqCst) {
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
fn tick(shared: &Shared, engine: &wasmtime::EngineWeak, schedule: &Schedule) {
    let mut started = 0;
    let mut quiet = Duration::ZERO;
    while !shared.stop.load(Ordering::SeqCst) {
        if quiet >= LINGER {
            shared.is_asleep.store(true, Ordering::SeqCst);
            // Whoever starts after this load sees that the thread is to be woken; one that is
            // unparked before it parks does not park.
            if shared.running.load(Ordering::SeqCst) == 0 {
                thread::park();
            }
            shared.is_asleep.store(false, Ordering::SeqCst);
            quiet = Duration::ZERO;
            continue;
        }
        thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
        schedule.tick(Instant::now());
        let now = shared.started.load(Ordering::Relaxed);
        let is_quiet = now == started && shared.running.load(Ordering::SeqCst) == 0;
        quiet = if is_quiet { quiet + TICK } else { Duration::ZERO };
        started = now;
    }
}

/// An instance lives.
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
