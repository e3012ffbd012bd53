//! On which threads guests are run.
//!
//! A guest that computes keeps the thread that polls it until the next tick. If those were the runtime's, a few
//! such guests would keep all of them most of the time, and with them sockets, timers and everybody else's
//! requests: Tokio looks for what has come in only between a good many polls. So guests whose steps are long are
//! run by threads of their own, as many as cores, to which the system prefers all others. What
//! they wait for is still seen to by the runtime. A step that is handed over costs two switches of threads,
//! some ten microseconds, which would be much for a brief one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::Handle;

use crate::turns::Turns;

/// How long the steps of a guest are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It is run where it is polled.
    Brief,
    /// It is run by threads for such guests.
    Long,
}

/// Who is run next, and by which threads. One for each process.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The turns of guests that are run where they are polled, and of those with long steps: if they shared
    /// theirs, the first would wait for threads that the system hardly runs.
    brief: Arc<Turns>,
    long: Arc<Turns>,
    threads: OnceLock<Option<ThreadPool>>,
    cores: usize,
    /// From how long on a step is a long one.
    long_step: Duration,
}

/// Handing a step over costs a tenth of this, and few requests in Rust or Go take as long.
pub(crate) const LONG_STEP: Duration = Duration::from_micros(250);

/// The least that there is: beside others that want all of a core they have a seventieth of it (sched(7)). The
/// less they are due, the sooner one that wakes is due before them; else it waits for the system's next tick, of
/// 4 ms.
const NICE: i32 = 19;

impl Schedule {
    /// For so many cores. Steps that take `long_step` are long ones.
    pub(crate) fn new(cores: usize, long_step: Duration) -> Arc<Self> {
        let cores = cores.max(1);
        let (brief, long) = (Turns::new(cores), Turns::new(cores));
        Arc::new(Self { brief, long, threads: OnceLock::new(), cores, long_step })
    }

    pub(crate) fn turns(&self, pace: Pace) -> &Arc<Turns> {
        match pace {
            Pace::Brief => &self.brief,
            Pace::Long => &self.long,
        }
    }

    pub(crate) fn is_long(&self, step: Duration) -> bool {
        step >= self.long_step
    }

    /// See [`Turns::tick`].
    pub(crate) fn tick(&self, now: Instant) {
        self.brief.tick(now);
        self.long.tick(now);
    }

    /// Has a thread for long steps do `job`, as a part of the runtime that this is called in. What panics is
    /// dropped.
    pub(crate) fn run_long(&self, job: impl FnOnce() + Send + 'static) {
        let runtime = Handle::try_current();
        let job = move || {
            let _entered = runtime.as_ref().map(Handle::enter);
            let _ = catch_unwind(AssertUnwindSafe(job));
        };
        match self.threads.get_or_init(|| start(self.cores)) {
            Some(threads) => threads.spawn_fifo(job),
            None => job(),
        }
    }
}

/// None where the system has no threads left: then nothing is handed over.
fn start(threads: usize) -> Option<ThreadPool> {
    let result = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|_| "dhow-long".to_owned())
        .start_handler(|_| {
            // Linux has a priority for each thread, and this sets the calling one's (setpriority(2)).
            // Nobody is refused to lower his own.
            let _ = rustix::process::setpriority_process(None, NICE);
        })
        .build();
    result.inspect_err(|error| tracing::warn!(%error, "no threads for long work")).ok()
}
