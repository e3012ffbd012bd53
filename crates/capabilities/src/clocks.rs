//! Time as guests see it: the system's, or one that is made for tests, which moves on when somebody waits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Notify, time::sleep};
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtxBuilder,
    clocks::WasiClocksCtxView,
    p2::{DynPollable, Pollable, bindings::clocks::monotonic_clock as clock_p2, subscribe},
    p3::bindings::clocks::monotonic_clock as clock_p3,
};

use crate::parts::State;

/// A clock that stands still until a guest waits, and is then where the guest has waited for: an hour of it
/// takes a moment. Of several that wait the first is the one with the least to wait for. All guests of a
/// process have the same; Dhow's own limits are of the system's time.
#[derive(Clone)]
pub struct VirtualTime(Arc<Shared>);

struct Shared {
    /// Since 1970.
    start: Duration,
    time: Mutex<Time>,
    /// Somebody has come or gone, or the time has changed.
    changed: Notify,
}

#[derive(Default)]
struct Time {
    /// Since the start.
    now: Duration,
    /// How many wait for each moment.
    waiting: BTreeMap<Duration, usize>,
}

/// In which nobody has come who waits for something earlier: then the time moves on.
const QUIET: Duration = Duration::from_millis(1);

/// Who waits for longer waits until he is given up, as guests do who mean for ever.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// As monotonic clocks count.
const NANOSECOND: Duration = Duration::from_nanos(1);

impl VirtualTime {
    /// A clock that stands at `start`; what was before 1970 is 1970.
    pub fn starting_at(start: SystemTime) -> Self {
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Arc::new(Shared { start, time: Mutex::default(), changed: Notify::new() }))
    }

    /// Since the start.
    fn now(&self) -> Duration {
        self.time().now
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes at `moment`, since the start.
    async fn wait_until(&self, moment: Duration) {
        let now = self.now();
        if now >= moment {
            return;
        }
        if moment.saturating_sub(now) > FOR_EVER {
            std::future::pending::<()>().await;
        }
        let _waiting = Waiting::begin(self, moment);
        loop {
            // Before the look: what changes after it is not missed.
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.now() >= moment {
                return;
            }
            tokio::select! {
                () = changed => {}
                // By whoever is polled: the first may be kept waiting by something else.
                () = sleep(QUIET) => self.move_on(),
            }
        }
    }

    /// Makes it the moment that somebody waits for first.
    fn move_on(&self) {
        let mut time = self.time();
        let first = time.waiting.keys().next().copied();
        time.now = time.now.max(first.unwrap_or_default());
        drop(time);
        self.0.changed.notify_waiters();
    }
}

/// Somebody waits, for as long as this is there.
struct Waiting<'a> {
    time: &'a VirtualTime,
    moment: Duration,
}

impl<'a> Waiting<'a> {
    fn begin(time: &'a VirtualTime, moment: Duration) -> Self {
        *time.time().waiting.entry(moment).or_default() += 1;
        time.0.changed.notify_waiters();
        Self { time, moment }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut time = self.time.time();
        if let Some(count) = time.waiting.get_mut(&self.moment) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                time.waiting.remove(&self.moment);
            }
        }
        drop(time);
        self.time.0.changed.notify_waiters();
    }
}

impl HostWallClock for VirtualTime {
    fn resolution(&self) -> Duration {
        NANOSECOND
    }

    fn now(&self) -> Duration {
        self.0.start.saturating_add(self.now())
    }
}

impl HostMonotonicClock for VirtualTime {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Has an instance see `time`, if there is one, and else the system's.
pub(crate) fn open(time: Option<&VirtualTime>, wasi: &mut WasiCtxBuilder) {
    if let Some(time) = time {
        wasi.wall_clock(time.clone()).monotonic_clock(time.clone());
    }
}

/// Puts our own waiting in place of wasmtime-wasi's, which knows the system's time only.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    clock_p2::add_to_linker::<_, Clocks>(linker, view)?;
    clock_p3::add_to_linker::<_, Clocks>(linker, view)
}

/// What the interfaces are implemented for.
struct Clocks;

impl HasData for Clocks {
    type Data<'a> = View<'a>;
}

/// An instance's clocks.
struct View<'a> {
    clocks: WasiClocksCtxView<'a>,
    time: Option<VirtualTime>,
}

fn view(state: &mut State) -> View<'_> {
    let time = state.time.clone();
    View { clocks: state.caller(0).into_clocks(), time }
}

impl clock_p2::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        clock_p2::Host::now(&mut self.clocks)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        clock_p2::Host::resolution(&mut self.clocks)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match &self.time {
            None => clock_p2::Host::subscribe_instant(&mut self.clocks, when),
            Some(time) => {
                let moment = Duration::from_nanos(when);
                let moment = Moment { time: time.clone(), moment, has_yielded: false };
                let moment = self.clocks.table.push(moment)?;
                subscribe(self.clocks.table, moment)
            }
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match &self.time {
            None => clock_p2::Host::subscribe_duration(&mut self.clocks, duration),
            Some(time) => {
                let when = HostMonotonicClock::now(time).saturating_add(duration);
                self.subscribe_instant(when)
            }
        }
    }
}

/// Ready when the time has come.
struct Moment {
    time: VirtualTime,
    moment: Duration,
    has_yielded: bool,
}

#[async_trait::async_trait]
impl Pollable for Moment {
    async fn ready(&mut self) {
        // Once, as wasmtime-wasi does: a guest that polls in a loop would let nothing else run.
        if !std::mem::replace(&mut self.has_yielded, true) {
            tokio::task::yield_now().await;
        }
        self.time.wait_until(self.moment).await;
    }
}

impl clock_p3::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        clock_p3::Host::now(&mut self.clocks)
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        clock_p3::Host::get_resolution(&mut self.clocks)
    }
}

impl<T: Send> clock_p3::HostWithStore<T> for Clocks {
    async fn wait_until(accessor: &Accessor<T, Self>, when: u64) -> wasmtime::Result<()> {
        let (time, now) = accessor.with(|mut store| {
            let mut view = store.get();
            let now = clock_p3::Host::now(&mut view);
            (view.time, now)
        });
        let now = now?;
        match time {
            Some(time) => time.wait_until(Duration::from_nanos(when)).await,
            None if when > now => sleep(Duration::from_nanos(when - now)).await,
            None => {}
        }
        Ok(())
    }

    async fn wait_for(accessor: &Accessor<T, Self>, duration: u64) -> wasmtime::Result<()> {
        let duration = Duration::from_nanos(duration);
        match accessor.with(|mut store| store.get().time) {
            Some(time) => time.wait_until(time.now().saturating_add(duration)).await,
            None if duration.is_zero() => {}
            None => sleep(duration).await,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn hours_pass_in_a_moment_and_in_their_order() {
        let time = VirtualTime::starting_at(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let begin = Instant::now();
        let order = Mutex::new(Vec::new());
        join_all([7, 3, 5, 3].map(|hours| {
            let (time, order) = (&time, &order);
            async move {
                time.wait_until(Duration::from_secs(hours * 3600)).await;
                order.lock().unwrap().push((hours, time.now()));
            }
        }))
        .await;
        let hour = |n| (n, Duration::from_secs(n * 3600));
        assert_eq!(order.into_inner().unwrap(), [hour(3), hour(3), hour(5), hour(7)]);
        assert_eq!(HostWallClock::now(&time).as_secs(), 1_000_000_000 + 7 * 3600);
        assert!(begin.elapsed() < Duration::from_secs(60));
        assert!(time.time().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_wait_any_more_holds_up_nobody() {
        let time = VirtualTime::starting_at(UNIX_EPOCH);
        let (first, second) = (Duration::from_secs(1), Duration::from_secs(2));
        {
            let mut given_up = std::pin::pin!(time.wait_until(first));
            assert!(futures_util::poll!(&mut given_up).is_pending());
        }
        time.wait_until(second).await;
        assert_eq!(time.now(), second);
    }
}
